from tests.support.shared_ray import no_orphans, shared_ray

__all__ = ["no_orphans", "shared_ray"]
