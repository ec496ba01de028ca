"""The preprocessing of a pipeline as Python expressions: row-wise feature blocks and fitted steps."""

from __future__ import annotations

from dojo.task import TaskSpec
from gome.mle.playbook.pipeline import PipelineSpec
from gome.mle.playbook.render_model import (
    call,
    counts_text,
    has_image,
    has_series,
    has_text,
    is_numeric,
    needs_dense,
    quoted,
)

IMPORTS = (
    "import numpy as np",
    "import pandas as pd",
    "from functools import partial",
    "from sklearn.compose import ColumnTransformer",
    "from sklearn.compose import make_column_selector",
    "from sklearn.experimental import enable_iterative_imputer",
    "from sklearn.feature_extraction import DictVectorizer",
    "from sklearn.feature_extraction.text import CountVectorizer",
    "from sklearn.feature_extraction.text import HashingVectorizer",
    "from sklearn.feature_extraction.text import TfidfVectorizer",
    "from sklearn.feature_selection import SelectFromModel",
    "from sklearn.feature_selection import SelectPercentile",
    "from sklearn.feature_selection import f_classif",
    "from sklearn.feature_selection import f_regression",
    "from sklearn.impute import IterativeImputer",
    "from sklearn.impute import KNNImputer",
    "from sklearn.impute import SimpleImputer",
    "from sklearn.pipeline import Pipeline",
    "from sklearn.pipeline import make_pipeline",
    "from sklearn.pipeline import make_union",
    "from sklearn.preprocessing import FunctionTransformer",
    "from sklearn.preprocessing import MinMaxScaler",
    "from sklearn.preprocessing import OneHotEncoder",
    "from sklearn.preprocessing import OrdinalEncoder",
    "from sklearn.preprocessing import PowerTransformer",
    "from sklearn.preprocessing import QuantileTransformer",
    "from sklearn.preprocessing import RobustScaler",
    "from sklearn.preprocessing import StandardScaler",
    "from sklearn.preprocessing import TargetEncoder",
)

DENSE_TEXT_SVD = 100
"""Dimensions that texts are reduced to for models that take no sparse matrix."""


def uses_code(spec: PipelineSpec) -> bool:
    """Whether code strings get features of their own."""
    return bool(spec.code.ngrams or spec.code.tokens or spec.code.statistics)


def category_prefixes(spec: PipelineSpec, task: TaskSpec, *, code_role: bool) -> tuple[str, ...]:
    """Prefixes of the columns that this pipeline encodes as categories."""
    prefixes = ["cat:"]
    if code_role and not uses_code(spec):
        prefixes.append("code:")
    if spec.categorical.integer_levels:
        prefixes.append("level:")
    if task.problem == "forecast" and task.group:
        prefixes.append("axis:series")
    return tuple(prefixes)


def row_blocks(spec: PipelineSpec, task: TaskSpec) -> tuple[list[str], bool]:
    """Expressions of blocks computed from `x` row by row, and whether they look at the training rows `train`."""
    blocks: list[str] = []
    reference = False
    dates, series, image, code, geo = spec.dates, spec.series, spec.image, spec.code, spec.geo
    if dates.elapsed and task.problem != "forecast":
        blocks.append("elapsed_days(x)")
    if dates.parts:
        blocks.append(f"date_parts(x, [{', '.join(map(quoted, dates.parts))}])")
    if dates.cyclic:
        blocks.append("cyclic_dates(x)")
    if dates.weekend:
        blocks.append("weekends(x)")
    if dates.cyclic_integers:
        blocks.append("cyclic_integers(x, cycle_lengths(train))")
        reference = True
    if spec.text.statistics and has_text(spec, task):
        blocks.append("text_statistics(x)")
    if code.statistics:
        blocks.append("code_statistics(x)")
    if geo.xyz:
        blocks.append("sphere_points(x, find_places(train))")
    if geo.rotations:
        blocks.append(f"rotated_places(x, find_places(train), {geo.rotations})")
    reference = reference or geo.xyz or geo.rotations > 0
    if has_series(task):
        blocks += ["series_summary(x)"] * series.summary
        blocks += ["series_differences(x)"] * series.differences
        if series.autocorrelation:
            blocks.append(f"series_autocorrelation(x, {series.autocorrelation})")
        if series.fft:
            blocks.append(f"series_spectrum(x, {series.fft})")
        if series.intervals:
            blocks.append(f"series_intervals(x, {series.intervals})")
    if has_image(task) and image.gradients:
        blocks.append(f"gradient_histograms(x, IMAGE_SHAPE, {image.gradient_cell})")
    if task.problem == "forecast" and spec.forecast.method == "regression":
        if spec.forecast.degree:
            blocks.append(f"trend_terms(x, train, {spec.forecast.degree})")
            reference = True
        if spec.forecast.harmonics:
            blocks.append(f"season_waves(x, season, {spec.forecast.harmonics})")
        if spec.forecast.seasonal_dummies:
            blocks.append("season_dummies(x, season)")
    return blocks, reference


def frame_steps(spec: PipelineSpec, prefixes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Fitted steps that add columns to the frame."""
    steps: list[tuple[str, str]] = []
    literal = _prefix_tuple(prefixes)
    if spec.categorical.crosses and spec.categorical.encoding != "drop":
        steps.append(("crosses", f"LevelCrosses({spec.categorical.crosses}, {literal})"))
    if spec.groups.statistics or spec.groups.deviation:
        statistics = _strings(spec.groups.statistics)
        steps.append(
            (
                "groups",
                call(
                    "GroupStatistics",
                    statistics=statistics,
                    deviation=spec.groups.deviation,
                    categories=spec.groups.categories,
                    numerics=spec.groups.numerics,
                    prefixes=literal,
                ),
            )
        )
    if spec.interactions.pairs and spec.interactions.operations:
        operations = _strings(spec.interactions.operations)
        steps.append(("pairs", f"PairFeatures({spec.interactions.pairs}, {operations})"))
    if spec.interactions.polynomial > 1:
        terms = f"{spec.interactions.polynomial}, {spec.interactions.polynomial_columns}"
        steps.append(("polynomial", f"PolynomialTerms({terms})"))
    return steps


def column_steps(spec: PipelineSpec, task: TaskSpec, prefixes: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(name, transformer, selector) of the column transformer; categories come first."""
    steps = _category_steps(spec, task, prefixes)
    numeric = numeric_steps(spec, task)
    steps.append(("numbers", chained(numeric), 'make_column_selector("^num:")'))
    if spec.numeric.indicators:
        steps.append(("missing", "MissingFlags()", 'make_column_selector("^num:")'))
    if spec.numeric.bins:
        bins = f"QuantileBins({max(2, spec.numeric.bins)})"
        steps.append(("bins", bins, 'make_column_selector("^num:")'))
    if has_series(task):
        steps += _series_steps(spec)
    if has_image(task) and spec.image.pixels:
        pca = f"PixelPca({spec.image.pca}, seed)" if spec.image.pca else '"passthrough"'
        steps.append(("pixels", pca, 'make_column_selector("^pixel:")'))
    if spec.text.vectorizer != "none" and has_text(spec, task):
        steps.append(("texts", text_step(spec, task), 'make_column_selector("^text:")'))
    return steps + _code_steps(spec, task)


def chained(steps: list[str]) -> str:
    """One transformer that does all of them."""
    if not steps:
        return '"passthrough"'
    return steps[0] if len(steps) == 1 else f"make_pipeline({', '.join(steps)})"


def numeric_steps(spec: PipelineSpec, task: TaskSpec) -> list[str]:
    """Clipping, logarithm, imputation and scaling of numeric columns."""
    numeric = spec.numeric
    steps = []
    if numeric.outliers == "winsor":
        steps.append(f"QuantileClipper({numeric.outlier_quantile})")
    if numeric.outliers == "clip":
        steps.append("FenceClipper()")
    if numeric.log_skewed:
        steps.append("SkewedLog()")
    match numeric.imputation:
        case "mean" | "median":
            steps.append(f'SimpleImputer(strategy="{numeric.imputation}", keep_empty_features=True)')
        case "constant":
            steps.append('SimpleImputer(strategy="constant", fill_value=0, keep_empty_features=True)')
        case "knn":
            steps.append("KNNImputer(keep_empty_features=True)")
        case "iterative":
            steps.append("FunctionTransformer(np.array)")  # a copy: the imputer writes into its input
            arguments = {"max_iter": 5, "n_nearest_features": 10, "keep_empty_features": "True"}
            steps.append(call("IterativeImputer", **arguments, random_state="seed"))
        case "none":
            pass
    return steps + scaling_steps(spec, task)


def scaling_steps(spec: PipelineSpec, task: TaskSpec) -> list[str]:
    """The scaler of dense blocks."""
    if counts_text(spec, task):
        return ["MinMaxScaler(clip=True)"]
    normal = call("QuantileTransformer", output_distribution='"normal"', random_state="seed")
    return {
        "none": [],
        "standard": ["StandardScaler()"],
        "robust": ["RobustScaler()"],
        "quantile": [normal],
        "power": ["StandardScaler()", "PowerTransformer()"],
    }[spec.numeric.scaling]


def text_step(spec: PipelineSpec, task: TaskSpec) -> str:
    """Vectorising one document per row, and reducing it if asked for."""
    text = spec.text
    words, characters = _vectorizer(spec, "word"), _vectorizer(spec, "char")
    vectorizer = {"word": words, "char": characters, "word_char": f"make_union({words}, {characters})"}
    steps = ["FunctionTransformer(join_texts)", vectorizer[text.analyzer]]
    size = text.svd or (DENSE_TEXT_SVD if needs_dense(spec, task) else 0)
    if size:
        steps.append(f"TermSvd({size}, seed)")
        if text.svd:
            steps += scaling_steps(spec, task)
    return f"make_pipeline({', '.join(steps)})"


def _vectorizer(spec: PipelineSpec, analyzer: str) -> str:
    text = spec.text
    words = analyzer == "word"
    name = {"tfidf": "TfidfVectorizer", "count": "CountVectorizer", "hashing": "HashingVectorizer"}
    ngrams = f"(1, {text.word_ngrams})" if words else f"({text.char_min}, {text.char_max})"
    hashing = text.vectorizer == "hashing"
    return call(
        name[text.vectorizer],
        analyzer=None if words else '"char_wb"',
        ngram_range=None if ngrams == "(1, 1)" else ngrams,
        stop_words='"english"' if text.stop_words and words else None,
        max_features=None if hashing else text.max_features,
        n_features=2 ** (text.max_features.bit_length() - 1) if hashing else None,
        min_df=text.min_df if text.min_df > 1 and not hashing else None,
        sublinear_tf=True if text.sublinear_tf and text.vectorizer == "tfidf" else None,
        binary=True if text.binary else None,
    )


def _series_steps(spec: PipelineSpec) -> list[tuple[str, str, str]]:
    selector = 'make_column_selector("^series:")'
    steps = []
    scale = ["StandardScaler()"] if spec.numeric.scaling != "none" else []
    if spec.series.values:
        unit = ["FunctionTransformer(unit_series)"] if spec.series.normalize == "zscore" else []
        steps.append(("series", chained(unit + scale), selector))
    if spec.series.kernels:
        convolutions = f"RandomConvolutions({spec.series.kernels}, seed)"
        steps.append(("kernels", chained([convolutions, *scale]), selector))
    return steps


def _code_steps(spec: PipelineSpec, task: TaskSpec) -> list[tuple[str, str, str]]:
    steps = []
    if spec.code.tokens:
        chain = "make_pipeline(FunctionTransformer(token_counts), DictVectorizer())"
        steps.append(("tokens", chain, 'make_column_selector("^code:")'))
    if spec.code.ngrams:
        counts = call(
            "CountVectorizer",
            analyzer='"char"',
            lowercase="False",
            ngram_range=f"(1, {spec.code.ngrams})",
            max_features=spec.code.max_features,
        )
        chain = f"make_pipeline(FunctionTransformer(join_texts), {counts})"
        steps.append(("ngrams", chain, 'make_column_selector("^code:")'))
    return steps


def _category_steps(
    spec: PipelineSpec, task: TaskSpec, prefixes: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    categorical = spec.categorical
    high = categorical.high_encoding
    if high in ("same", categorical.encoding):
        if categorical.encoding == "drop":
            return []
        names = "|".join(prefix.removesuffix(":") for prefix in prefixes)
        pattern = f"^{names}" if len(prefixes) == 1 else f"^({names})"
        selector = f'make_column_selector("{pattern}")'
        return [("categories", encoder(categorical.encoding, spec, task), selector)]
    arguments = f"prefixes={_prefix_tuple(prefixes)}, limit={categorical.high_cardinality}"
    steps = []
    if categorical.encoding != "drop":
        few = f"partial(many_levels, {arguments}, above=False)"
        steps.append(("categories", encoder(categorical.encoding, spec, task), few))
    if high != "drop":
        many = f"partial(many_levels, {arguments}, above=True)"
        steps.append(("many_levels", encoder(high, spec, task), many))
    return steps


def encoder(name: str, spec: PipelineSpec, task: TaskSpec) -> str:
    """The encoder of categorical columns."""
    categorical = spec.categorical
    rare = categorical.rare_min_count if categorical.rare_min_count > 1 else None
    ordinal = call(
        "OrdinalEncoder",
        handle_unknown='"use_encoded_value"',
        unknown_value=-1,
        min_frequency=rare,
        max_categories=254 if name == "native" and spec.model.family == "hist_gb" else None,
    )
    match name:
        case "onehot":
            return call(
                "OneHotEncoder",
                handle_unknown='"infrequent_if_exist"',
                min_frequency=rare,
                max_categories=categorical.max_levels,
            )
        case "ordinal" | "native":
            return ordinal
        case "target":
            target = call(
                "TargetEncoder",
                target_type='"continuous"' if is_numeric(task) else None,
                smooth=categorical.target_smoothing or None,
                cv="KFold(5, shuffle=True, random_state=seed)",
            )
            return f"make_pipeline({ordinal}, {target})" if rare else target
        case "count":
            return "CountEncoder()"
        case "frequency":
            return "CountEncoder(share=True)"
        case "hashing":
            return f"HashEncoder({categorical.hash_width})"
    raise ValueError(f"unknown encoding {name}")


def selection_step(spec: PipelineSpec, task: TaskSpec) -> str | None:
    """Feature selection on the finished matrix."""
    keep = spec.selection.keep
    if spec.selection.method == "variance":
        return "DropConstant()"
    if spec.selection.method == "kbest":
        score = "f_regression" if is_numeric(task) else "f_classif"
        return f"SelectPercentile({score}, percentile={round(100 * keep, 3)})"
    if spec.selection.method == "importance":
        judge = call(
            "LGBMRegressor" if is_numeric(task) else "LGBMClassifier",
            n_estimators=50,
            importance_type='"gain"',
            random_state="seed",
            n_jobs=1,
            deterministic="True",
            force_row_wise="True",
            verbose=-1,
        )
        count = f"partial(share_of_columns, share={keep})"
        return f"SelectFromModel({judge}, threshold=-np.inf, max_features={count})"
    return None


def _strings(values: tuple[str, ...]) -> str:
    return f"({', '.join(map(quoted, values))}{',' if len(values) == 1 else ''})"


def _prefix_tuple(prefixes: tuple[str, ...]) -> str:
    return _strings(prefixes)
