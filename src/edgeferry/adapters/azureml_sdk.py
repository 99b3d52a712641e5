"""azure-ai-ml, which costs one to four seconds to import: when it is first needed."""

from __future__ import annotations

import logging
from typing import Any

from edgeferry.adapters.entra import missing_extra
from edgeferry.adapters.tracking import prepare_mlflow


def load_sdk() -> Any:
    """azure-ai-ml, its remarks on its own experimental classes unheard. Beside azureml-mlflow, it imports
    MLflow."""
    prepare_mlflow()
    try:
        import azure.ai.ml
    except ImportError as error:
        raise missing_extra("azure-ai-ml") from error
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # importing it has set INFO, and a handler
    return azure.ai.ml
