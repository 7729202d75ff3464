"""Every launch of the program becomes machine code for a data-centre GPU, with all its numbers in registers: no GPU is
needed to compile. It takes minutes, so it runs when asked for (``-m long``)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = """
import sys, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

NAMES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32"}
OPTIONS = "num_warps", "num_stages"
done = set()

def run(self, *args, grid, warmup, **given):
    options = {name: given.pop(name) for name in OPTIONS if name in given}
    given |= dict(zip(self.arg_names, args))
    constant = {p.name: given[p.name] for p in self.params if p.is_constexpr}
    signature, even = {}, {}
    for place, name in enumerate(self.arg_names):
        value = given[name]
        signature[name] = "constexpr" if name in constant else NAMES[value.dtype] if torch.is_tensor(value) else "i32"
        if name not in constant and (torch.is_tensor(value) or value % 16 == 0):
            even[place,] = [["tt.divisibility", 16]]
    key = self.__name__, *sorted(constant.items())
    if key not in done:
        done.add(key)
        source = ASTSource(fn=self, signature=signature, constexprs=constant, attrs=even)
        made = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options)
        open(f"{sys.argv[2]}/{self.__name__}.{len(done)}.cubin", "wb").write(made.asm["cubin"])

JITFunction.run = run

from mlff.kernels import triton_motion, triton_program
from mlff.kernels.cuda_graph import Capacity
from mlff.kernels.triton_memory import Network
from mlff.student import PaiNN
from mlff.student.weights import tabulated_radial, weights_of

model = PaiNN([1, 6, 8], channels=128, layers=3, radial=20)
weights = weights_of(model, tabulated_radial(model, 0.24, 1e-6), 0.3)
for few, split in ((0, True), (0, False), (128, False)):
    triton_program.FEW_ATOMS = few
    network = Network(weights, torch.float32, torch.device("cpu"), split)
    triton_program.Program(network, Capacity(32, 512)).launch(stress=True)
x, y = torch.zeros(32, 3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
triton_motion.kick_and_drift[(1,)](x, x, x, x, y, x, y, 32, ATOMS=128)
triton_motion.kick[(1,)](x, x, x, 96, SIZE=512)
"""


@pytest.mark.long
@pytest.mark.parametrize("generation", ["80", "90"], ids=["A100", "H100 and H200"])
def test_every_launch_compiles_without_spilling(generation, tmp_path):
    import triton

    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path / "cache"), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-c", COMPILE, generation, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert run.returncode == 0, run.stderr
    cubins = sorted(tmp_path.glob("*.cubin"))
    assert len(cubins) >= 20
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    for cubin in cubins:
        said = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
        used = {name: int(number) for name, number in re.findall(r"(STACK|LOCAL|REG):(\d+)", said)}
        assert (used["STACK"], used["LOCAL"]) == (0, 0) and used["REG"] <= 255, f"{cubin.stem}: {used}"
