"""run_all.sh's options and profiles, up to the point where the stages' own programs take over."""

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tools.files.picture_names import FORMAT_OF_SUFFIX

ROOT = Path(__file__).parent.parent
STAGES = ["setup", "data", "pretrain", "check", "augment", "rename", "split", "lmdb", "mean"]
STAGES += ["prototxt", "finetune", "extract", "score", "representations", "tables", "report"]
TRAINING = {"check", "augment", "rename", "split", "lmdb", "mean", "finetune"}


def run_all(*options: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "DATA_DIR"} | more
    return subprocess.run(
        [ROOT / "run_all.sh", *options], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120
    )


def stages_of(profile: str) -> list[str]:
    return [stage for stage in STAGES if profile == "demo" or stage != "pretrain"]


def stages_shown(output: str) -> list[str]:
    lines = [line.removeprefix("# ") for line in output.splitlines()]
    return [after.split()[0] for line, after in pairwise(lines) if line.startswith("───")]


def test_list_names_the_stages_in_order() -> None:
    listed = run_all("--list").stdout.split()
    assert [stage for stage in listed if stage in STAGES] == STAGES


@pytest.mark.parametrize("profile", ["demo", "article"])
def test_dry_run_prints_the_complete_plan(profile: str) -> None:
    done = run_all("--profile", profile, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [stage for stage in stages_shown(done.stdout) if stage in STAGES] == stages_of(profile)
    for command in (
        "eval.extract",
        "eval.score",
        "tools/finetune.sh",
        "tools/make_lmdb.sh",
        "data_prep.augment",
    ):
        assert command in done.stdout


@pytest.mark.parametrize("options", [["--profile", "demo"], ["--profile", "article"], ["--seeds", "1,2"]])
def test_a_dry_run_can_be_pasted_as_it_is(options: list[str]) -> None:
    """Every line is a comment or one command of ours, which a shell takes for as many words as it has."""
    lines = [line for line in run_all(*options, "--dry-run").stdout.splitlines() if line]
    commands = [line for line in lines if not line.startswith("#")]
    assert len(commands) > 10
    for line in commands:
        first, *words = shlex.split(line)
        assert first.startswith(("tools/", "./run_all.sh")) or (first, words[0]) == ("python", "-m"), line


def test_a_setting_in_the_environment_is_not_passed_over_in_silence() -> None:
    done = run_all("--dry-run", FINETUNE_MODE="last", DIMS="8")
    assert done.returncode == 0 and "--mode all" in done.stdout
    assert done.stderr == (
        "run_all: not read from the environment: DIMS FINETUNE_MODE; "
        "settings are lines of the profile, profiles/demo\n"
    )


@pytest.mark.parametrize("profile", ["demo", "article"])
def test_table_1_touches_no_training_data(profile: str) -> None:
    done = run_all("--profile", profile, "--table", "1", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not TRAINING & set(stages_shown(done.stdout))
    assert "finetuned" not in done.stdout
    assert "landmarks" not in done.stdout.replace("The data: landmarks", "")


def test_from_to_and_only_choose_stages() -> None:
    assert stages_shown(run_all("--dry-run", "--from", "lmdb", "--to", "prototxt").stdout) == [
        "lmdb",
        "mean",
        "prototxt",
    ]
    assert stages_shown(run_all("--dry-run", "--only", "split").stdout) == ["split"]


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--fram"], 2, "unknown option --fram"),
        (["--tabel", "1"], 2, "unknown option --tabel (did you mean --table?)"),
        (["--from", "nowhere"], 2, "there is no stage nowhere; stages: setup data"),
        (["--only", "lmbd"], 2, "there is no stage lmbd (did you mean lmdb?); stages: setup data"),
        (["--from"], 2, "--from needs a value"),
        (["--from", "score", "--to", "data"], 2, "--from score comes after --to data"),
        (["--table", "7"], 2, "--table takes"),
        (["--variants", "--table", "3"], 2, "--variants fine-tunes, which --table 3 leaves out"),
        (["--gpu", "a,b"], 2, "--gpu takes numbers such as 0,1"),
        (["--profile", "nothing"], 1, "there is no profile nothing; shipped: article"),
        (["--profile", "Artcle"], 1, "there is no profile Artcle (did you mean article?); shipped: article"),
    ],
)
def test_wrong_options_are_one_sentence(options: list[str], status: int, sentence: str) -> None:
    done = run_all(*options)
    assert done.returncode == status
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_variants_are_trained_extracted_and_scored() -> None:
    done = run_all("--variants", "--dry-run")
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    trained = [line.partition("--mode ")[2].split()[0] for line in commands if "--mode " in line]
    assert trained == ["all", "last", "two-phase"]
    for model in ("pretrained", "finetuned", "finetuned_last", "finetuned_two-phase"):
        assert any("eval.extract" in line and f"--model {model} " in line for line in commands)
        assert any("eval.score" in line and line.endswith(f"/ranks/{model}") for line in commands)


def test_variants_need_the_article_s_own_mode(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("FINETUNE_MODE=last\n")
    done = run_all("--profile", "mine", "--variants", "--dry-run", cwd=tmp_path)
    assert done.returncode == 1
    assert "--variants compares FINETUNE_MODE=all with the other two" in done.stderr


def test_from_nothing_needs_a_network_with_fillers(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("FROM_SCRATCH=400\n")
    done = run_all("--profile", str(tmp_path / "mine"), "--dry-run")
    assert "FROM_SCRATCH=400 trains from nothing, for which prototxt/vgg16 has no folder" in done.stderr
    shown = run_all("--dry-run", "--only", "finetune").stdout
    assert "--stop-at 300" in shown and "train_scratch --out" in shown


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("NUM_WANTD=9\n", ":1: no setting is called NUM_WANTD (did you mean NUM_WANTED?)"),
        ("num_wanted=9\n", ":1: no setting is called num_wanted (did you mean NUM_WANTED?)"),
        ("XQZ=9\n", ":1: no setting is called XQZ; there are: AS_PUBLISHED AUGMENT_ENGINE"),
        ("# a comment\nrm -rf x\n", ":2: expected NAME=value"),
        ("NUM_WANTED=$(touch made)\n", ":1: expected NAME=value"),
        ("NUM_WANTED=$OTHER\n", ":1: $OTHER names a setting that there is not"),
        ('DATABASE="a$"\n', ':1: "a$" names a setting that there is not'),
        ("WEIGHTS=~else/a\n", ":1: ~else/a names a setting that there is not, or another user's home"),
        ("MEAN=104,117,256\n", ":1: MEAN is B,G,R (such as 104,117,123) or a mean file"),
        ("SEED=\u0663\n", ":1: SEED is a whole number from 0 up"),
        ("FINETUNE_MODE=lastt\n", ":1: FINETUNE_MODE is one of: all last two-phase, not 'lastt'"),
        ("COPIES_ANYWHERE=No\n", ":1: COPIES_ANYWHERE is one of: yes no, not 'No'"),
        ("NUM_WANTED=abc\n", ":1: NUM_WANTED is a whole number from 1 up, not 'abc'"),
        (
            "MIN_PICTURES=1\n",
            "MIN_PICTURES is 1, but both lists need a photograph of each class: 2, or COPIES",
        ),
        ("NUM_WANTED=0\n", ":1: NUM_WANTED is a whole number from 1 up, not '0'"),
        ("TRAIN_SHARE=1.5\n", ":1: TRAIN_SHARE is a share between 0 and 1"),
        ("NETWORK=vgg19\n", ":1: NETWORK is one of: demo vgg16, not 'vgg19'"),
        ("DIMS='128 fulll'\n", ":1: DIMS is dimensions such as '128 full none', not '128 fulll'"),
        ("BASE_LR=fast\n", ":1: BASE_LR is a learning rate such as 0.001, not 'fast'"),
        ("LAYERS='fc6 x9'\n", "the network vgg16 has no layer x9; it has: data conv1_1"),
        ("LAYERS=fc9\n", "the network vgg16 has no layer fc9 (did you mean fc6 or fc7 or fc8?); it has"),
        (
            "MAP_LAYERS='poool5 c7'\n",
            "no layer poool5 (did you mean pool5?), no layer c7 (did you mean fc7?)",
        ),
        ("DATABASE=`touch made`\n", ":1: expected NAME=value"),
        ("DATABASE=a b\n", ":1: expected NAME=value"),
        ('DATABASE=~/"a b"\n', ":1: expected NAME=value"),
        ("MEAN=104,117\n", ":1: MEAN is B,G,R (such as 104,117,123) or a mean file"),
        ("export SEED=1\n", ":1: expected NAME=value"),
    ],
)
def test_a_profile_with_a_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "mine").write_text(text)
    done = run_all("--profile", "mine", "--dry-run", cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_a_profile_may_be_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "mine").write_bytes('# 照片\nSEED=7 # 种子\nDATA_NOTE="照片"\n'.encode(encoding))
    said = run_all("--profile", "mine", "--dry-run", cwd=tmp_path, LC_ALL="C.UTF-8").stderr
    assert "data_prep.fetch vgg16" in said and "expected NAME=value" not in said  # the weights alone lack


def test_a_profile_in_utf_16_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes("SEED=7\n".encode("utf-16"))
    done = run_all("--profile", "mine", "--dry-run", cwd=tmp_path)
    assert done.returncode == 1 and "mine holds bytes of 0: it is damaged, or in UTF-16" in done.stderr
    assert "expected NAME=value" not in done.stderr


@pytest.mark.parametrize("value", ["many", "0", "-2", "2.5", "100000"])
def test_a_nonsensical_number_of_threads_is_one_sentence(value: str) -> None:
    done = run_all("--dry-run", OMP_NUM_THREADS=value)
    assert done.returncode == 1
    assert done.stderr == f"run_all: OMP_NUM_THREADS must be a number of threads, not {value}\n"
    assert run_all("--dry-run", OMP_NUM_THREADS="2,1").returncode == 0


def test_bf16_is_for_the_features_alone(tmp_path: Path) -> None:
    """What extracts computes in the profile's precision, nothing else hears of it; the environment's would
    reach the training."""
    done = run_all("--dry-run", CAFFE_CPU_PRECISION="bf16")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "CAFFE_CPU_PRECISION=bf16 would hold for the training too" in done.stderr
    plain = run_all("--dry-run", "--table", "3").stdout
    profile = tmp_path / "mine"
    profile.write_text((ROOT / "profiles" / "demo").read_text() + "CPU_PRECISION=bf16\n")
    planned = run_all("--profile", str(profile), "--work", "work/demo", "--dry-run", "--table", "3").stdout
    assert "--precision" not in plain
    extractions = planned.count("python -m eval.extract ")
    assert extractions > 5 and planned.count(" --precision bf16") == extractions


def test_a_profile_is_settings_not_a_script(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text('TRAIN_PICTURES="$(touch made) `touch made`"\n')
    run_all("--profile", "mine", "--dry-run", cwd=tmp_path)
    assert not list(tmp_path.rglob("made")) and not (ROOT / "made").exists()


EACH_SUFFIX = " ".join(f"{number}/a{suffix}" for number, suffix in enumerate(FORMAT_OF_SUFFIX))


def own_data(folder: Path) -> None:
    """What a profile of one's own names: class folders, photographs with ground truth, weights."""
    training = [f"by place/{place}/{name}.jpg" for place in ("here", "there") for name in "ab"]
    for path in (*training, "my photographs/b.jpg", "gt/x_1_query.txt", "w.caffemodel"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    for kind in ("good", "ok", "junk"):
        (folder / "gt" / f"x_1_{kind}.txt").write_text("b\n")


def test_a_profile_of_ones_own_with_paths_of_ones_own(tmp_path: Path) -> None:
    own_data(tmp_path)
    lines = [
        "# mine\r",
        f"TRAIN_PICTURES='{tmp_path}/by place'",
        'DATABASE="$HOME/my photographs"',
        'GROUND_TRUTH="~/gt" # mine',
        "NUM_WANTED='12'",
        "WEIGHTS=${HOME}/w.caffemodel",
    ]
    (tmp_path / "my run").write_text("\ufeff" + "\n".join(lines))
    words = ("--profile", "my run", "--work", "somewhere else", "--dry-run")
    done = run_all(*words, cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"--images '{tmp_path}/my photographs' --gt {tmp_path}/gt" in done.stdout
    assert f"'{tmp_path}/somewhere else/results'" in done.stdout
    assert "--num-wanted 12" in done.stdout
    assert not (tmp_path / "somewhere else").exists()


@pytest.mark.parametrize(
    ("typed", "printed"), [("-x", "./-x"), ("a$W", "'a$W/results'"), ("a'b", "'a'\\''b/results'")]
)
def test_any_name_will_do_for_the_work_folder(tmp_path: Path, typed: str, printed: str) -> None:
    done = run_all("--work", typed, "--dry-run", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


def test_everything_wrong_is_said_at_once_and_in_the_dry_run_too(tmp_path: Path) -> None:
    own_data(tmp_path)
    (tmp_path / "gt" / "x_1_junk.txt").unlink()
    (tmp_path / "w.caffemodel").unlink()
    (tmp_path / "mine").write_text(
        "NUM_WANTED=-1\nLAYERS=fc9\nTRAIN_PICTURES=$HOME/none\nDATABASE='$HOME'\nGROUND_TRUTH=~/gt\n"
        "WEIGHTS=~/w.caffemodel\n"
    )
    for more in (["--dry-run"], [], ["--plan"]):
        done = run_all("--profile", "mine", *more, cwd=tmp_path, HOME=str(tmp_path))
        assert done.returncode == 1
        assert done.stdout == ""
        said = done.stderr.splitlines()
        assert said[0] == "run_all: 6 things to mend before this can run:"
        for words in (
            "NUM_WANTED is a whole number",
            "no layer fc9",
            f"TRAIN_PICTURES: there is no folder {tmp_path}/none",
            "DATABASE: there is no folder $HOME",
            f"GROUND_TRUTH: {tmp_path}/gt lacks x_1_junk.txt",
            f"WEIGHTS: there is no file {tmp_path}/w.caffemodel; to download VGG16's (553 MB): tools/",
            f"-m data_prep.fetch vgg16 --out {tmp_path}/w.caffemodel",
        ):
            assert any(words in line for line in said), words


@pytest.mark.parametrize(
    ("names", "alone", "with_database"),
    [
        ("", "has no class folders with pictures in them", "has no class folders with pictures in them"),
        ("a.jpg b.jpg", "has no class folders with pictures", "has no class folders with pictures"),
        ("x/a.txt x/deeper/a.jpg x/.hidden/a.jpg x/.a.jpg .y/a.jpg", "has no class", "has no class"),
        ("x/a.jpg x/b.JPG x/c.png x/d.tiff", "of the 1 class folders in {} 1 hold 4", "{} 1 hold 2 pictures"),
        ("x/a.jpg x/b.jpg y/a.jpg y/b.jpg", "of the 2 class folders in {} 0 hold 4 pictures", None),
        ("x/a.jpg y/a.jpg z/a.jpg", "of the 3 class folders in {} 0 hold 4", "{} 0 hold 2 pictures"),
        (EACH_SUFFIX, f"of the {len(FORMAT_OF_SUFFIX)} class folders in ", "{} 0 hold 2"),
        ("x/1.jpg x/2.jpg x/3.jpg x/4.jpg y\nz/1.jpg y\nz/2.jpg y\nz/3.jpg y\nz/4.jpg", None, None),
    ],
)
def test_class_folders_that_cannot_do_are_said_first(
    tmp_path: Path, names: str, alone: str | None, with_database: str | None
) -> None:
    own_data(tmp_path)
    classes = tmp_path / "classes"
    classes.mkdir()
    for name in names.split(" ") if names else []:
        (classes / name).parent.mkdir(parents=True, exist_ok=True)
        (classes / name).write_text("x")
    profile = "TRAIN_PICTURES=~/classes\nWEIGHTS=~/w.caffemodel\n"
    database = "DATABASE='~/my photographs'\nGROUND_TRUTH=~/gt\n".replace("'", '"')
    for text, sentence in ((profile, alone), (profile + database, with_database)):
        (tmp_path / "mine").write_text(text)
        done = run_all("--profile", "mine", "--dry-run", cwd=tmp_path, HOME=str(tmp_path))
        assert done.returncode == (0 if sentence is None else 1), done.stderr
        assert (sentence or "").format(classes) in done.stderr


def test_a_folder_with_other_files_is_not_taken_for_work(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("x")
    done = run_all("--work", str(tmp_path), "--only", "split")
    assert done.returncode == 1
    assert "holds files that are not a run's" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(("home", "place"), [("/nowhere", "work/demo/.matplotlib"), ("/tmp", "none")])
def test_without_a_home_matplotlib_has_a_place_of_its_own(home: str, place: str) -> None:
    """It would complain on the terminal, and make a temporary one for every program."""
    words = 'set -- --dry-run; source tools/run/start.sh; echo "${MPLCONFIGDIR:-none}"'
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "WORK_DIR")
    }
    done = subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, cwd=ROOT, env=environment | {"HOME": home}
    )
    assert done.stdout.splitlines()[-1:] == [place], done.stderr


def test_too_little_room_is_said_before_set_up_and_in_the_dry_run(tmp_path: Path) -> None:
    """Of a disk that no machine has: a million classes are as many pictures times NUM_WANTED."""
    own_data(tmp_path)
    (tmp_path / "mine").write_text(
        "TRAIN_PICTURES='HOME/by place'\nDATABASE='HOME/my photographs'\nGROUND_TRUTH=~/gt\n"
        "WEIGHTS=~/w.caffemodel\nNUM_WANTED=99999999\n".replace("HOME", str(tmp_path))
    )
    words = ("--profile", "mine", "--work", "work")
    done = run_all(*words, cwd=tmp_path, HOME=str(tmp_path), CAFFE_VENV="/dev/null/venv")
    assert done.returncode == 1 and done.stdout == ""
    assert "run_all: too little room at " in done.stderr and not (tmp_path / "work").exists()
    shown = run_all(*words, "--dry-run", cwd=tmp_path, HOME=str(tmp_path))
    assert shown.returncode == 0 and "\n# too little room at " in shown.stdout


@pytest.mark.parametrize("searched", ["oxford5k", "paris6k"])
@pytest.mark.parametrize("revisited", [False, True])
def test_either_set_is_searched_and_the_other_whitened_on(
    tmp_path: Path, searched: str, revisited: bool
) -> None:
    places = {"oxford5k": "$DATA_DIR/oxford5k/jpg", "paris6k": "$W/data/paris6k"}
    (other,) = places.keys() - {searched}
    truth = f"gnd_r{searched}.pkl" if revisited else f"{searched}_gt"
    profile = (ROOT / "profiles" / "article").read_text()
    for name, value in (
        ("DATABASE", places[searched]),
        ("GROUND_TRUTH", f"$DATA_DIR/{truth}"),
        ("LEARN_FROM", places[other]),
    ):
        before = next(line for line in profile.splitlines() if line.startswith(f"{name}="))
        profile = profile.replace(before, f'{name}="{value}"')
    (tmp_path / "mine").write_text(profile)
    words = ("--profile", str(tmp_path / "mine"), "--work", str(tmp_path / "w"), "--table", "1")
    done = run_all(*words, "--dry-run", "--only", "data", DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    fetched = [
        line.split("data_prep.fetch ")[1] for line in done.stdout.splitlines() if "data_prep.fetch" in line
    ]
    data = tmp_path / "data"
    photographs = {
        "oxford5k": f"oxford5k-images --out {data}/oxford5k/jpg",
        "paris6k": f"paris6k-images --out {data}/paris6k",
    }
    assert fetched == [
        photographs[searched],
        f"{'r' if revisited else ''}{searched}-gt --out {data}/{truth}",
        f"vgg16 --out {data}/VGG_ILSVRC_16_layers.caffemodel",
        photographs[other],
    ]
    assert f"check_images {tmp_path}/w/data/paris6k --from {data}/paris6k" in done.stdout.replace("\\\n", "")


def test_other_photographs_that_nobody_brings_are_said_at_once(tmp_path: Path) -> None:
    profile = (ROOT / "profiles" / "article").read_text()
    profile = profile.replace('LEARN_FROM="$W/data/paris6k"', f'LEARN_FROM="{tmp_path}/holidays"')
    (tmp_path / "mine").write_text(profile)
    words = ("--profile", str(tmp_path / "mine"), "--work", str(tmp_path / "w"), "--table", "1")
    done = run_all(*words, "--only", "report", DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"LEARN_FROM: there is no folder {tmp_path}/holidays, and what is downloaded" in done.stderr
