"""What the article claims, and where; what we claim besides; what it says that can't be tried here.

A claim of the article's stands with its sentence, translated, and its section.
"""

from collections.abc import Callable
from dataclasses import dataclass

from eval.evidence.experiments import (
    LITTLE,
    NO_MORE,
    Finding,
    all_layers_beat_the_last,
    average_is_steadier,
    concatenated_gains,
    dropout_is_relu,
    finetuning_helps,
    finetuning_helps_everywhere,
    finetuning_helps_maps,
    in_place_is_relu,
    layers_differ_little,
    max_beats_sum,
    middle_beats_fc,
    resolution_helps,
    rmac_and_crow_are_best,
    rmac_is_like_crow,
    three_levels,
    whitening_ruins,
)
from eval.evidence.measured import Measured


@dataclass(frozen=True)
class Claim:
    """What is claimed, and the experiment."""

    text: str
    section: str
    """The article's; empty where the claim is ours."""
    sentence: str
    """The article's, translated; or what ours rests on."""
    experiment: Callable[[Measured], Finding]
    options: str = "--table 3"
    """run_all.sh's options that make what the experiment reads."""
    margin: str = ""
    """What a word such as "little" is taken for."""

    @property
    def whose(self) -> str:
        """The article's, or ours."""
        return "article" if self.section else "ours"


@dataclass(frozen=True)
class Untried:
    """What the article says and can't be tried here, and what it would take."""

    text: str
    section: str
    sentence: str
    needs: str


CLAIMS = (
    Claim(
        "fc6, fc6_relu6, fc7 and fc7_relu7 differ little",
        "Which layer",
        "Which of fc6, fc6_relu6, fc7 and fc7_relu7 is chosen has no great influence on the result.",
        layers_differ_little,
        "",
        f"little: within {100 * LITTLE:g} points, every two",
    ),
    Claim(
        "Middle layers are better than fully connected ones",
        "Which layer",
        "Upper, semantic layers have lost the object's place in the picture; experiments show that middle "
        "layers serve object retrieval better.",
        middle_beats_fc,
    ),
    Claim(
        "Higher image resolution helps",
        "Which layer",
        "Without the fully connected layers a picture keeps its own size; usually, the larger the image, the "
        "better.",
        resolution_helps,
    ),
    Claim(
        "AVE is steadier than SUM when an image doubles its size",
        "Representations, AVE pooling",
        "Our guess for a picture of 224 x 224 enlarged to 448 x 448: the cosine between both is smaller with "
        "SUM, so AVE should be slightly better.",
        average_is_steadier,
    ),
    Claim(
        "MAX pooling is slightly better than SUM and AVE",
        "Representations, MAX pooling",
        "In the experiments that were made, MAX is slightly better than SUM and AVE.",
        max_beats_sum,
    ),
    Claim(
        "R-MAC gains from L = 1 to 3, and no more at 4",
        "Representations, R-MAC pooling",
        "From L = 1 to L = 3 the mAP rises step by step, and at L = 4 no more (of R-MAC's paper).",
        three_levels,
        margin=f"no more: less than {100 * NO_MORE:g} point",
    ),
    Claim(
        "R-MAC concatenated gains 2 to 3 points over the sum",
        "Representations, R-MAC pooling",
        "Concatenating the 20 local vectors' sum with the global one gains 2 % to 3 % over adding all 21.",
        concatenated_gains,
        margin=f"2 to 3 points: between {100 * (0.02 - NO_MORE):g} and {100 * (0.03 + NO_MORE):g}",
    ),
    Claim(
        "R-MAC and CroW differ little",
        "Representations, R-MAC pooling",
        "Compared with CroW pooling there is little difference (on a million pictures).",
        rmac_is_like_crow,
        margin=f"little: within {100 * LITTLE:g} points; on the pictures at hand, not a million",
    ),
    Claim(
        "R-MAC and CroW are both better than SUM, AVE and MAX",
        "Representations, summary",
        "Of the six, R-MAC and CroW are recommended, mainly as these two work better at little cost.",
        rmac_and_crow_are_best,
    ),
    Claim(
        "At test time fc6_drop6 equals fc6_relu6, fc7_drop7 equals fc7_relu7",
        "Features of any layer",
        "fc6_dropx and fc6_relu are the same (as fc7_drop7 and fc7_relu7 are), which is shown by experiment.",
        dropout_is_relu,
    ),
    Claim(
        "Without renaming, blob fc7 holds the value after ReLU",
        "Features of any layer",
        "drop7 and relu7 have the same blob as top and bottom, so its values are manipulated directly and "
        "what they were before is lost (quoted there; the text beside it still reads blob fc7 as the layer).",
        in_place_is_relu,
    ),
    Claim(
        "Fine-tuning raises fc6's mAP",
        "Fine-tuning, test",
        "After fine-tuning the mAP has risen by far (fc6 at 128 dimensions, 45.9 % to 60.2 %).",
        finetuning_helps,
        "",
    ),
    Claim(
        "PCA to the full dimension with whitening ruins mAP",
        "",
        "read off Table 1, of which the article says nothing",
        whitening_ruins,
    ),
    Claim(
        "Fine-tuning helps at every layer",
        "",
        "the article measures fc6 alone",
        finetuning_helps_everywhere,
        "",
    ),
    Claim(
        "Fine-tuning helps SUM, MAX, CroW and R-MAC of a map",
        "",
        "the article fine-tunes for fc6; these are what is searched with today",
        finetuning_helps_maps,
    ),
    Claim(
        "Fine-tuning all layers beats the last one alone",
        "",
        "the article names three ways of fine-tuning and compares none",
        all_layers_beat_the_last,
        "--variants",
    ),
)

UNTRIED = (
    Untried(
        "VGGNet is better than ResNet and Inception with the same method",
        "Fine-tuning",
        "Tested over these networks, pre-trained VGGNet's features work best; with one method, ResNet's or "
        "Inception's mAP is lower.",
        "their deploy prototxts and caffemodels (eval.extract takes any network), and several methods",
    ),
    Untried(
        "CroW works well on ten million pictures, R-MAC on a million",
        "Representations, CroW and R-MAC pooling",
        "On results from a library of ten million pictures CroW still does well; R-MAC on a million.",
        "features of as many distractors (eval.score --distractors), and what is meant by well",
    ),
    Untried(
        "MOP-CNN's features are invariant to some degree",
        "Representations, MOP pooling",
        "Its authors show some invariance by experiment; the article has made none.",
        "pictures changed by known amounts; Table 3 has MOP-CNN's mAP",
    ),
    Untried(
        "Fully connected layers suit similarity of whole pictures better",
        "Which layer",
        "A possible guess: they should rather suit global similarity.",
        "a set whose ground truth is about whole pictures (scenes, near duplicates)",
    ),
    Untried(
        "CroW's large weights lie on the object, though not always",
        "Representations, CroW pooling",
        "The weights are large at the spire, and elsewhere too; in other pictures not on the object.",
        "outlines of the objects; the report shows the weights to the eye",
    ),
    Untried(
        "Augmentation raises the accuracy of classification and the robustness to rotation, scale and blur",
        "Data augmentation",
        "It balances the classes, and makes the network more robust, which raises the accuracy.",
        "trainings without augmentation over several seeds, and pictures changed by known amounts",
    ),
    Untried(
        "Starting from pre-trained weights makes training faster",
        "Fine-tuning",
        "Not from nothing: many samples are hard to get, and training is faster.",
        "trainings from nothing on the same pictures, until they are as good",
    ),
)
