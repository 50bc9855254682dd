"""The report's explanations of terms: a sentence, a formula, and where it is from."""

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Term:
    """A term of the field where it first stands on the page."""

    name: str
    sentence: str
    formula: Markup
    """As HTML; the same in every language."""
    source: str
    url: str


TERMS = {
    "map": Term(
        "mAP, mean average precision",
        "A query's average precision is the area under its curve of precision against recall, by the "
        "trapezoid rule of Oxford's compute_ap; junk pictures are taken out of the ranking first. mAP is its "
        "mean over all queries: 100 % where every right picture comes before every wrong one.",
        Markup(
            "AP = Σ<sub><i>k</i></sub> (<i>r<sub>k</sub></i> − <i>r</i><sub><i>k</i>−1</sub>) · "
            "½ (<i>p</i><sub><i>k</i>−1</sub> + <i>p<sub>k</sub></i>)"
        ),
        "Philbin et al., CVPR 2007",
        "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/",
    ),
    "layers": Term(
        "fc6, fc7, ReLU: the layers",
        "A network is a chain of layers. VGG16 turns a picture of 224 x 224 pixels into maps by 13 "
        "convolutions: what is seen where, at last in pool5. Three fully connected layers follow: fc6 and "
        "fc7 make 4096 numbers each, fc8 one for each class. fc6_relu6 is fc6 with all below 0 set to 0, "
        "which is what the next layer gets; in training dropout then sets some more to 0, by chance. Such a "
        "list of numbers is the picture's feature: pictures are alike where their features are, and a search "
        "puts those first that have the largest dot product with the query's.",
        Markup(
            "ReLU(<i>x</i>) = max(0, <i>x</i>), &nbsp; likeness = <i>q</i> · <i>d</i>, &nbsp; "
            "‖<i>q</i>‖ = ‖<i>d</i>‖ = 1"
        ),
        "Simonyan and Zisserman, arXiv 1409.1556",
        "https://arxiv.org/abs/1409.1556",
    ),
    "finetuning": Term(
        "Fine-tuning",
        "Training that begins with a network which has learnt something else, from pictures of all kinds of "
        "things (ImageNet's, in the article), and goes on with pictures of the task, of buildings, in small "
        "steps. What the first layers know of edges and textures stays useful; the later ones turn to what "
        "tells buildings apart. The classes are only a means: what is used afterwards are the features.",
        Markup("<i>w</i> ← <i>w</i> + <i>v</i>, &nbsp; <i>v</i> ← 0.9 <i>v</i> − rate · ∂loss ∕ ∂<i>w</i>"),
        "Babenko et al., Neural Codes, ECCV 2014",
        "https://arxiv.org/abs/1404.1777",
    ),
    "whitening": Term(
        "PCA with whitening",
        "PCA turns the vectors into directions of falling variance and keeps the first D; whitening "
        "divides each by its standard deviation, so that all count alike. It takes down what all pictures "
        "share. Kept to the full dimension, it also raises directions that hold nothing but noise.",
        Markup(
            "<i>y</i> = Λ<sub><i>D</i></sub><sup>−½</sup> <i>U<sub>D</sub></i><sup>T</sup> "
            "(<i>x</i> − <i>μ</i>) ∕ ‖ · ‖, &nbsp; ‖<i>x</i>‖ = 1"
        ),
        "Jégou and Chum, ECCV 2012",
        "https://doi.org/10.1007/978-3-642-33709-3_55",
    ),
    "pooling": Term(
        "SUM, AVE, MAX, GeM pooling, and MOP-CNN",
        "A map has a small picture for every channel, one place in it for every place in the photograph. "
        "Pooling makes one number of each channel: the sum of its cells, their mean, the largest, or with "
        "GeM a mean that leans to the large ones. MOP-CNN cuts windows of three sizes out of the photograph "
        "instead, takes fc7 of each, and adds up how they differ from the nearest of some typical ones.",
        Markup(
            "<i>v<sub>c</sub></i> = Σ<sub><i>ij</i></sub> <i>x<sub>cij</sub></i>, &nbsp; "
            "<sup>1</sup>∕<sub><i>HW</i></sub> Σ<sub><i>ij</i></sub> <i>x<sub>cij</sub></i>, &nbsp; "
            "max<sub><i>ij</i></sub> <i>x<sub>cij</sub></i>, &nbsp; "
            "(<sup>1</sup>∕<sub><i>HW</i></sub> Σ<sub><i>ij</i></sub> <i>x<sub>cij</sub></i><sup>3</sup>)"
            "<sup>⅓</sup>"
        ),
        "Radenović, Tolias and Chum, arXiv 1711.02512; Gong et al., arXiv 1403.1840",
        "https://arxiv.org/abs/1711.02512",
    ),
    "crow": Term(
        "CroW, cross-dimensional weighting",
        "Adds up a map's cells, each weighted by how strongly all channels answer there (S), and weights "
        "each channel by how rarely it answers at all (I), as a search engine counts rare words higher.",
        Markup(
            "<i>v<sub>c</sub></i> = <i>I<sub>c</sub></i> Σ<sub><i>ij</i></sub> <i>S<sub>ij</sub></i> "
            "<i>x<sub>cij</sub></i>, &nbsp; <i>S</i> = (Σ<sub><i>c</i></sub> <i>x<sub>c</sub></i> ∕ "
            "‖Σ<sub><i>c</i></sub> <i>x<sub>c</sub></i>‖)<sup>½</sup>, &nbsp; "
            "<i>I<sub>c</sub></i> = log (Σ<sub><i>k</i></sub> <i>Q<sub>k</sub></i> ∕ <i>Q<sub>c</sub></i>), "
            "&nbsp; <i>Q<sub>c</sub></i> = share of <i>x<sub>c</sub></i> &gt; 0"
        ),
        "Kalantidis, Mellina and Osindero, arXiv 1512.04065",
        "https://arxiv.org/abs/1512.04065",
    ),
    "rmac": Term(
        "R-MAC, regional maximum activations",
        "Takes the maximum of every channel in each of some 20 squares at three scales, gives each of these "
        "vectors length 1, and adds them up: where squares overlap, things count more than once.",
        Markup(
            "<i>v</i> = Σ<sub><i>R</i></sub> <i>m<sub>R</sub></i> ∕ ‖<i>m<sub>R</sub></i>‖, &nbsp; "
            "<i>m<sub>R,c</sub></i> = max<sub>(<i>i,j</i>) ∈ <i>R</i></sub> <i>x<sub>cij</sub></i>"
        ),
        "Tolias, Sicre and Jégou, arXiv 1511.05879",
        "https://arxiv.org/abs/1511.05879",
    ),
    "qe": Term(
        "QE, query expansion",
        "Asks a second time with the first answers added to the query, the best with the greatest weight. It "
        "helps where the first answers are right, and harms where they are not.",
        Markup(
            "<i>q′</i> = <i>q</i> + "
            "Σ<sub><i>k</i> = 1 … 10</sub> (1 − (<i>k</i> − 1) ∕ 10) <i>d<sub>k</sub></i>"
        ),
        "Chum et al., Total Recall, ICCV 2007",
        "https://doi.org/10.1109/ICCV.2007.4408891",
    ),
}
