"""What the kernels of Triton share."""

import triton

part = (lambda function: function) if triton.knobs.runtime.interpret else triton.jit
"""A part of a kernel. Triton's interpreter would prepare itself anew at every call of a compiled one."""
