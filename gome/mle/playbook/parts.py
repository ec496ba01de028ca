"""The parts of a pipeline. Every default is the field's plain default: `PipelineSpec()` has no trick in it.

Vocabulary and defaults follow scikit-learn and LightGBM where they have the thing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dojo.model import Frozen

CategoricalEncoding = Literal[
    "onehot", "ordinal", "target", "count", "frequency", "hashing", "native", "drop"
]
DatePart = Literal["year", "quarter", "month", "week", "day", "dayofyear", "dayofweek", "hour", "minute"]
PairOperation = Literal["ratio", "product", "difference", "sum"]
Aggregate = Literal["mean", "std", "min", "max", "median"]
Family = Literal[
    "linear",
    "ridge",
    "lasso",
    "elastic",
    "logistic",
    "knn",
    "svm",
    "forest",
    "extra_trees",
    "hist_gb",
    "lightgbm",
    "mlp",
    "bayes",
]
ForecastMethod = Literal["naive", "seasonal_naive", "drift", "regression", "holt_winters", "lags"]


class Columns(Frozen):
    """Overrides of the column roles that the solution infers from the training data."""

    drop: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    """Strings with a syntax of their own: formulas, SMILES, part numbers."""


class Numeric(Frozen):
    """Cleaning and scaling of numeric columns."""

    imputation: Literal["mean", "median", "constant", "none", "knn", "iterative"] = "mean"
    """`none` leaves NaN for models that take it; `constant` is 0."""
    indicators: bool = False
    """Add a 0/1 column for each column with missing values."""
    outliers: Literal["none", "clip", "winsor"] = "none"
    """`clip`: Tukey's outer fences, 3 interquartile ranges; `winsor`: the outer quantiles."""
    outlier_quantile: float = Field(default=0.01, gt=0.0, lt=0.5)
    log_skewed: bool = False
    """Signed log1p of columns with an absolute skewness above 1."""
    scaling: Literal["none", "standard", "robust", "quantile", "power"] = "none"
    bins: int = Field(default=0, ge=0, le=256)
    """Add each column cut into this many quantile bins, one-hot (0: not)."""


class Categorical(Frozen):
    """Encoding of categorical columns."""

    encoding: CategoricalEncoding = "onehot"
    """`target` is out-of-fold; `native` is LightGBM's and hist_gb's own treatment."""
    high_cardinality: int = Field(default=50, ge=2)
    """A column with more levels than this is encoded by `high_encoding`."""
    high_encoding: Literal["same", "onehot", "ordinal", "target", "count", "frequency", "hashing", "drop"] = (
        "same"
    )
    rare_min_count: int = Field(default=0, ge=0)
    """Levels seen fewer times than this are grouped as one (0: not)."""
    max_levels: int = Field(default=200, ge=2)
    """One-hot keeps this many levels of a column and groups the rest."""
    hash_width: int = Field(default=32, ge=2, le=4096)
    target_smoothing: float = Field(default=0.0, ge=0.0)
    """Weight of the prior in rows; 0 is the empirical-Bayes choice of scikit-learn."""
    integer_levels: int = Field(default=0, ge=0)
    """Integer columns with at most this many distinct values are treated as categories too (0: none)."""
    crosses: int = Field(default=0, ge=0, le=20)
    """Number of pairs of low-cardinality columns joined to new columns."""


class Dates(Frozen):
    """Features of date columns. All off means: date columns are dropped."""

    elapsed: bool = True
    """Days since 1970-01-01."""
    parts: tuple[DatePart, ...] = ()
    cyclic: bool = False
    """Sine and cosine of the periodic parts (month, day of week, day of year, hour)."""
    weekend: bool = False
    cyclic_integers: bool = False
    """Sine and cosine for integer columns whose values fill 0–23, 1–12, 1–7 or alike."""


class Text(Frozen):
    """Features of text columns."""

    vectorizer: Literal["none", "tfidf", "count", "hashing"] = "tfidf"
    analyzer: Literal["word", "char", "word_char"] = "word"
    word_ngrams: int = Field(default=1, ge=1, le=4)
    char_min: int = Field(default=2, ge=1, le=8)
    char_max: int = Field(default=5, ge=1, le=8)
    max_features: int = Field(default=50_000, ge=10)
    """Per vectorizer; the hashing width is the next lower power of two."""
    min_df: int = Field(default=1, ge=1)
    sublinear_tf: bool = False
    binary: bool = False
    stop_words: bool = False
    svd: int = Field(default=0, ge=0, le=500)
    """Dimensions of a truncated SVD of the term matrix (0: the sparse matrix itself)."""
    statistics: bool = False
    """Lengths, counts of capitals, digits, punctuation, mean word length."""


class Series(Frozen):
    """Features of the one series in each row."""

    values: bool = True
    normalize: Literal["none", "zscore"] = "none"
    """Per row."""
    summary: bool = False
    differences: bool = False
    autocorrelation: int = Field(default=0, ge=0, le=200)
    """Number of lags."""
    fft: int = Field(default=0, ge=0, le=1000)
    """Number of Fourier magnitudes."""
    kernels: int = Field(default=0, ge=0, le=10_000)
    """Number of random convolution kernels (two features each), as in ROCKET (arXiv:1910.13051)."""
    intervals: int = Field(default=0, ge=0, le=200)
    """Number of random intervals with mean, standard deviation and slope (arXiv:1302.2277)."""


class Image(Frozen):
    """Features of the one grey image in each row."""

    pixels: bool = True
    """The pixels, scaled to 0–1."""
    deskew: bool = False
    pca: int = Field(default=0, ge=0, le=500)
    """Principal components in place of the pixels (0: not)."""
    gradients: bool = False
    """Histograms of oriented gradients over cells."""
    gradient_cell: int = Field(default=4, ge=2, le=32)
    shifts: int = Field(default=0, ge=0, le=3)
    """Training images are repeated, moved by this many pixels in four directions."""


class Code(Frozen):
    """Features of code strings. All off means: they are categorical columns."""

    ngrams: int = Field(default=0, ge=0, le=6)
    """Counts of character n-grams up to this length (0: not)."""
    max_features: int = Field(default=500, ge=10)
    tokens: bool = False
    """Counts of tokens (an upper-case letter with its lower-case ones, a digit group, a sign); a number
    right after a token multiplies it, as in a formula."""
    statistics: bool = False
    """Length, digits, brackets, distinct characters."""


class Geo(Frozen):
    """Features of a latitude and longitude pair, found by name and range."""

    xyz: bool = False
    """The point on the unit sphere."""
    rotations: int = Field(default=0, ge=0, le=8)
    """Number of rotated coordinate pairs (axis-parallel trees then cut at other angles)."""


class Interactions(Frozen):
    """Pairs of numeric columns."""

    pairs: int = Field(default=0, ge=0, le=100)
    """Number of pairs, formed among the columns most associated with the target."""
    operations: tuple[PairOperation, ...] = ("ratio", "product")
    polynomial: int = Field(default=1, ge=1, le=3)
    """Degree of the polynomial expansion of the numeric columns (1: none)."""
    polynomial_columns: int = Field(default=15, ge=1, le=60)
    """Only this many columns, those most associated with the target, are expanded."""


class Groups(Frozen):
    """Statistics of numeric columns within the levels of categorical ones."""

    statistics: tuple[Aggregate, ...] = ()
    deviation: bool = False
    """Also the row's distance from the mean of its group."""
    categories: int = Field(default=3, ge=1, le=20)
    numerics: int = Field(default=5, ge=1, le=50)


class Selection(Frozen):
    """Feature selection on the finished matrix."""

    method: Literal["none", "variance", "kbest", "importance"] = "none"
    keep: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the features that `kbest` and `importance` keep; `variance` only drops constant ones."""


class Target(Frozen):
    """Transform of a numeric target; predictions are transformed back."""

    transform: Literal["none", "log1p", "sqrt", "boxcox", "rank", "standardize"] = "none"
    """`boxcox` is Yeo-Johnson where values are not positive; `rank` maps to normal quantiles."""


class Ridge(Frozen):
    """L2-regularised least squares; as a classifier on ±1 targets."""

    alpha: float = Field(default=1.0, gt=0.0)


class Lasso(Frozen):
    """L1-regularised least squares; as a classifier L1-regularised logistic regression with C = 1 / alpha."""

    alpha: float = Field(default=1.0, gt=0.0)


class Elastic(Frozen):
    """Elastic net; as a classifier logistic regression with C = 1 / alpha."""

    alpha: float = Field(default=1.0, gt=0.0)
    l1_ratio: float = Field(default=0.5, ge=0.0, le=1.0)


class Logistic(Frozen):
    """Logistic regression, L2-regularised."""

    c: float = Field(default=1.0, gt=0.0)
    max_iter: int = Field(default=200, ge=10, le=5000)


class Knn(Frozen):
    """k nearest neighbours."""

    k: int = Field(default=5, ge=1, le=500)
    weights: Literal["uniform", "distance"] = "uniform"
    metric: Literal["euclidean", "manhattan", "cosine"] = "euclidean"


class Svm(Frozen):
    """Support vector machine."""

    kernel: Literal["rbf", "linear"] = "rbf"
    c: float = Field(default=1.0, gt=0.0)
    gamma: float = Field(default=0.0, ge=0.0)
    """0 is scikit-learn's `scale`."""
    max_rows: int = Field(default=10_000, ge=100)
    """The rbf kernel is fitted on a random sample of at most this many rows: its cost is quadratic."""


class Forest(Frozen):
    """Random forest or extremely randomised trees."""

    trees: int = Field(default=100, ge=1, le=2000)
    max_depth: int = Field(default=0, ge=0)
    """0: unlimited."""
    min_leaf: int = Field(default=1, ge=1)
    max_features: Literal["default", "sqrt", "third", "half", "all"] = "default"


class HistGb(Frozen):
    """scikit-learn's histogram gradient boosting."""

    learning_rate: float = Field(default=0.1, gt=0.0, le=1.0)
    trees: int = Field(default=100, ge=1, le=5000)
    leaves: int = Field(default=31, ge=2, le=1024)
    min_leaf: int = Field(default=20, ge=1)
    l2: float = Field(default=0.0, ge=0.0)
    early_stopping: bool = False
    loss: Literal["default", "absolute", "poisson"] = "default"


class LightGbm(Frozen):
    """LightGBM."""

    learning_rate: float = Field(default=0.1, gt=0.0, le=1.0)
    trees: int = Field(default=100, ge=1, le=5000)
    leaves: int = Field(default=31, ge=2, le=1024)
    max_depth: int = Field(default=0, ge=0)
    """0: unlimited."""
    min_leaf: int = Field(default=20, ge=1)
    feature_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    bagging_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    l1: float = Field(default=0.0, ge=0.0)
    l2: float = Field(default=0.0, ge=0.0)
    early_stopping: int = Field(default=0, ge=0, le=1000)
    """Rounds without gain on an inner tenth of the training rows (0: not)."""
    loss: Literal["default", "absolute", "huber", "poisson", "tweedie"] = "default"
    extra_trees: bool = False


class Mlp(Frozen):
    """Multi-layer perceptron."""

    hidden: tuple[int, ...] = Field(default=(100,), min_length=1, max_length=4)
    alpha: float = Field(default=1e-4, ge=0.0)
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1.0)
    epochs: int = Field(default=200, ge=1, le=2000)
    early_stopping: bool = False


class Bayes(Frozen):
    """Naive Bayes: complement NB on sparse counts, else Gaussian; for numeric targets Bayesian ridge."""

    smoothing: float = Field(default=1.0, gt=0.0)


class Model(Frozen):
    """The model family, and the hyper-parameters of each family. Only those of `family` have an effect."""

    family: Family = "ridge"
    class_weight: Literal["none", "balanced"] = "none"
    bagging: int = Field(default=1, ge=1, le=20)
    """Number of seeds whose predictions are averaged."""
    ridge: Ridge = Ridge()
    lasso: Lasso = Lasso()
    elastic: Elastic = Elastic()
    logistic: Logistic = Logistic()
    knn: Knn = Knn()
    svm: Svm = Svm()
    forest: Forest = Forest()
    extra_trees: Forest = Forest()
    hist_gb: HistGb = HistGb()
    lightgbm: LightGbm = LightGbm()
    mlp: Mlp = Mlp()
    bayes: Bayes = Bayes()


class Forecast(Frozen):
    """How a series is carried into the future (problem `forecast` only)."""

    method: ForecastMethod = "regression"
    """`regression`: the model on features of time; `lags`: the model on past values, recursively."""
    season: int = Field(default=0, ge=0, le=10_000)
    """Rows in one season; 0 is inferred from the autocorrelation and the calendar."""
    degree: int = Field(default=1, ge=0, le=3)
    """Degree of the trend polynomial of `regression`; of `holt_winters`: 0 no trend, else a trend."""
    harmonics: int = Field(default=0, ge=0, le=20)
    """Number of Fourier pairs of the season in `regression`."""
    seasonal_dummies: bool = False
    """One 0/1 column for each position in the season in `regression`."""
    damped: bool = False
    """A damped trend in `holt_winters`."""
    seasonal: Literal["none", "additive", "multiplicative"] = "additive"
    """Kind of season in `holt_winters`."""
    lags: int = Field(default=12, ge=1, le=500)
    difference: bool = False
    """`lags` predicts the change from the last value instead of the value."""
    window: int = Field(default=0, ge=0)
    """Only the last rows of each series are used for fitting (0: all)."""
    anchor: bool = False
    """Shift the forecast so that its curve passes through the last observed level."""


class Post(Frozen):
    """What is done to predictions; anything fitted is fitted on out-of-fold predictions."""

    clip: bool = False
    """Clip values to the range of the training target."""
    round: Literal["none", "integer", "cutpoints"] = "none"
    """`cutpoints`: the expected class number is cut into labels at points tuned for the metric (ordered classes,
    as for quadratic kappa)."""
    threshold: Literal["none", "tune"] = "none"
    """Tune decision thresholds or class weights where labels are needed."""
    calibration: Literal["none", "sigmoid", "isotonic"] = "none"
    """Where probabilities are needed."""


class Cv(Frozen):
    """Cross-validation inside the training rows."""

    folds: int = Field(default=3, ge=2, le=10)
    scheme: Literal["auto", "random", "stratified", "group", "time"] = "auto"
    """`auto` follows the task: group, time, stratified for classes, else random."""
    predict: Literal["refit", "folds"] = "refit"
    """Predict new rows with one model fitted on all rows, or with the mean of the fold models."""
