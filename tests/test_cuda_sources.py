"""Our CUDA code, read: every call that can fail is asked whether it did, and every kernel launch."""

import re
from pathlib import Path

import pytest

CAFFE = Path(__file__).parent.parent / "tools" / "caffe"
SOURCES = sorted(path for ending in ("cpp", "hpp", "cu") for path in (CAFFE / "src").glob(f"*.{ending}"))
EDITS = sorted((CAFFE / "edits").glob("*.patch"))
CALL = re.compile(r"\b(cuda|cudnn|cublas|curand|nccl)[A-Z]\w*(?=\s*\()")
ASKED_WITHOUT_A_STATUS = {
    "cudaGetErrorString",
    "cudnnGetErrorString",
    "cudaGetLastError",
    "cublasGetErrorString",
}
LAUNCH = re.compile(r"<<<.*?>>>\s*\([^;]*\);\s*", re.DOTALL)


def code(text: str) -> str:
    """The text without comments, strings, and lines of the preprocessor."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    return re.sub(r"^\s*#[^\n]*", "", text, flags=re.MULTILINE)


def unasked(text: str) -> list[str]:
    """Calls whose status nobody looks at, and launches that no CUDA_POST_KERNEL_CHECK follows."""
    text = code(text)
    found = []
    for call in CALL.finditer(text):
        before = re.split(r"[;{}]", text[: call.start()])[-1]
        if call[0] in ASKED_WITHOUT_A_STATUS or call[0].endswith("_t"):
            continue
        if not re.search(r"CHECK\w*\s*\([^;]*$|=|\breturn\b|\b(if|while)\s*\([^)]*$", before):
            found.append(call[0])
    for launch in LAUNCH.finditer(text):
        if not text[launch.end() :].startswith("CUDA_POST_KERNEL_CHECK;"):
            found.append("<<<" + launch[0].split("<<<")[-1].split(">>>")[0] + ">>>")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_status_in_our_sources_is_looked_at(source: Path) -> None:
    assert unasked(source.read_text()) == []


@pytest.mark.parametrize("edit", EDITS, ids=lambda path: path.name)
def test_every_status_in_what_edits_add_is_looked_at(edit: Path) -> None:
    added = [line[1:] for line in edit.read_text().splitlines() if re.match(r"\+(?!\+\+ )", line)]
    assert unasked("\n".join(added)) == []


def test_the_sources_have_calls_and_a_launch() -> None:
    """Else the tests above would look at nothing."""
    everything = "".join(code(path.read_text()) for path in SOURCES)
    assert len(CALL.findall(everything)) > 40 and LAUNCH.search(everything)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("void f() { cudaFree(p); }", ["cudaFree"]),
        ("if (handle) cublasSetMathMode(handle, mode);", ["cublasSetMathMode"]),
        ("CUDA_CHECK(cudaFree(p)); cudnnDestroy(h);", ["cudnnDestroy"]),
        ("Nothing<<<1, 1>>>(a, b);\n}", ["<<<1, 1>>>"]),
        ("Nothing<<<1, 1>>>();\nCUDA_POST_KERNEL_CHECK;", []),
        ("const cudaError_t error = cudaFree(p); // cudaFree(q);", []),
        ("CUDNN_CHECK(cudnnCreate(\n    &handle));", []),
        ("if (cudaMalloc(&p, n) != cudaSuccess) {\n cudaGetLastError();\n}", []),
    ],
)
def test_what_the_reader_sees(text: str, said: list[str]) -> None:
    assert unasked(text) == said
