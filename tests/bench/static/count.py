#!/usr/bin/env python3
"""What kernels cost on a processor that is not here: instructions, counted under qemu-user, and cycles by llvm-mca's model.

    tests/bench/static/count.py KERNELS_BUILD PROCESSOR[,PROCESSOR...] LEVEL [TYPE...]

KERNELS_BUILD is a folder configured with --enable-kernels-only LDFLAGS=-static (for aarch64: tests/aarch64 of a build folder, after
tests/unit/kernels/aarch64.sh).  PROCESSOR is one of llvm-mca's, which LLVM_MCA may name: before LLVM 17 it takes a Cortex-A76
and Neoverses for a Cortex-A57, and no version knows the A76 but as neoverse-n1, which has the same core.  A TYPE is a weight
type, or f16 or q8_0 for attention: a position, of 64 dimensions.  Every instruction between two marks is followed, so loops and their ends have their true shares.  The model has
all data in the first-level cache, predicts every branch, and lets any number of instructions start in a cycle that its units
allow: WIDTH bounds that.
"""
import os
import re
import subprocess
import sys
import tempfile

SELF = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(SELF, "../../..")
WIDTH = {"neoverse-n1": 4, "cortex-a76": 4, "cortex-a55": 2, "neoverse-n2": 5, "neoverse-v1": 8}
# block of a type: elements, bytes
BLOCK = {"Q4_0": (32, 18), "Q8_0": (32, 34), "IQ4_NL": (32, 18), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210)}
KV = {"f16": 2, "q8_0": 34 / 32}  # bytes of an element
KV_SPAN = 512  # positions


class Program:
    """once.c, linked with the kernels of a build, and its instructions."""

    def __init__(self, build, directory):
        machine = open(f"{build}/config.log").read()
        self.arm = "host='aarch64" in machine or "host_cpu='aarch64" in machine
        cc = "aarch64-linux-gnu-gcc" if self.arm else "gcc"
        objdump = "aarch64-linux-gnu-objdump" if self.arm else "objdump"
        self.qemu = ["qemu-aarch64" if self.arm else "qemu-x86_64", "-cpu", "max"]
        self.path = f"{directory}/once"
        libraries = [f"{build}/kernels/{f}" for f in sorted(os.listdir(f"{build}/kernels")) if f.endswith(".a")]
        subprocess.run([cc, "-O2", "-static", f"-I{TOP}", f"{SELF}/once.c", "-o", self.path,
                        "-Wl,--start-group", *libraries, "-Wl,--end-group", "-lm", "-lpthread"], check=True)
        self.code, self.marks = {}, {}
        dump = subprocess.run([objdump, "-d", "--no-show-raw-insn", self.path], check=True, capture_output=True, text=True)
        for line in dump.stdout.splitlines():
            if m := re.match(r"([0-9a-f]+) <(once_\w+)>:", line):
                self.marks[m[2]] = int(m[1], 16)
            elif m := re.match(r" *([0-9a-f]+):\t(.*)", line):
                code = re.sub(r"\s*(//|<).*" if self.arm else r"\s*[#<].*", "", m[2])
                self.code[int(m[1], 16)] = re.sub(r"^(adrp\s+\w+,).*", r"\1 0", code)

    def trace(self, directory, *args):
        """The instructions that a call executes."""
        log = f"{directory}/log"
        subprocess.run([*self.qemu, "-singlestep", "-d", "exec,nochain", "-D", log, self.path, *map(str, args)], check=True)
        inside, out = False, []
        with open(log) as f:
            for line in f:
                if not line.startswith("Trace"):
                    continue
                at = int(line.split("/")[1], 16)
                if at == self.marks["once_begin"]:
                    inside = True
                elif at == self.marks["once_end"]:
                    break
                elif inside:
                    out.append(self.code[at])
        return out


def cycles(program, processor, instructions):
    """By the model, and bounded by how many instructions it takes up in a cycle."""
    branch = r"(b|bl|blr|b\.\w+|cbn?z|tbn?z|ret)\b" if program.arm else r"(bnd )?(j\w+|call\w*|ret\w*|nop\w*|data16|endbr64)\b"
    text = "\n".join(i for i in instructions if not re.match(branch, i))
    triple = ["-mtriple=aarch64", "-mattr=+dotprod,+i8mm,+fullfp16"] if program.arm else ["-mtriple=x86_64"]
    r = subprocess.run([os.environ.get("LLVM_MCA", "llvm-mca"), *triple, f"-mcpu={processor}", "-iterations=1",
                        "-instruction-info=0", "-resource-pressure=0"], input=text, capture_output=True, text=True)
    m = re.search(r"Total Cycles: *(\d+)", r.stdout)
    if not m:
        sys.exit(r.stderr[:2000])
    return max(int(m[1]), len(instructions) / WIDTH.get(processor, 6))


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    build, processors, level, *types = sys.argv[1:]
    processors = processors.split(",")
    with tempfile.TemporaryDirectory() as directory:
        program = Program(build, directory)

        def row(what, unit, work, blocks, *args):
            """Instructions; cycles and work a cycle on each processor."""
            t = program.trace(directory, level, *args)
            found = [cycles(program, p, t) for p in processors]
            print(f"| {what} | {len(t) / blocks:.0f} | " + " | ".join(f"{c / blocks:.0f}; {work / c:.2f} {unit}" for c in found) + " |", flush=True)

        print(f"| {level} | instructions | " + " | ".join(processors) + " |\n|---|---|" + "---|" * len(processors))
        for t in types or list(BLOCK) + list(KV):
            if t in KV:
                for queries in 1, 4:
                    row(f"{t}, {queries} queries", "bytes", KV_SPAN * 2 * 64 * KV[t], KV_SPAN, t, 0, 64, queries)
                continue
            elements, size = BLOCK[t]
            n = 512
            row(f"{t}, 1 column, a block of 8 rows", "bytes", 32 * n // elements * size, 4 * n // elements, t, 32, n, 1)
            for columns in 2, 64:
                row(f"{t}, {columns} columns, 1,024 multiply-adds", "multiply-adds", 16 * n * columns, 16 * n * columns // 1024,
                    t, 16, n, columns)


if __name__ == "__main__":
    main()
