"""Importing this keeps bitsandbytes quiet. PEFT imports it wherever it is installed, and it reports at once which
optional kernels it has not found; they are for inference, and not used here."""

import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
