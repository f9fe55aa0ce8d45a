"""The Celery application of the workers that run steps of `features_celery`; it holds no steps of its own.

`celery -A trading_pipeline.workers worker --concurrency 1 --prefetch-multiplier 1`, with the environment of the
deployment. A worker loads `trading_pipeline.definitions` when the first step reaches it.
"""

import os

from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from trading_pipeline.errors import ConfigError

BROKER, BACKEND = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"


def _urls() -> dict[str, str]:
    absent = [name for name in (BROKER, BACKEND) if not os.environ.get(name)]
    if absent:
        raise ConfigError(f"{', '.join(absent)} must be set to the URL of a Redis for workers and runs alike")
    return {"broker": os.environ[BROKER], "backend": os.environ[BACKEND]}


app = make_app(_urls())
execute_plan = create_task(app)
