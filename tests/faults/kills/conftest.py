import sys
from pathlib import Path

# Tests are imported by their files; what they share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))
