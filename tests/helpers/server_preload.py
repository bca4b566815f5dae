"""What the server of the tests' commands imports beside what any run needs: else each search would."""

import alembic.command  # noqa: F401
import alembic.script  # noqa: F401
import optuna.storages._rdb.storage  # noqa: F401
