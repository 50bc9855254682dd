# shellcheck shell=bash disable=SC2034 # profile.sh reads them
# Every setting that a profile may hold: its name, its default, what it may be, and what it is for. The article's
# values are the defaults, each with its reason. What belongs to a network stands in prototxt/NETWORK/settings.

declare -A DEFAULT_OF=() KIND_OF=()

setting() { DEFAULT_OF[$1]=$2 KIND_OF[$1]=$3; } # NAME DEFAULT KIND: a choice (a|b), number, share, path, words, text ...

# The pictures and the network
setting SOURCE           own          "own|made|download" # own folders; made from SEED; the article's, downloaded
setting NETWORK          vgg16        network   # a folder of prototxt/
setting WEIGHTS          ""           path      # the pre-trained caffemodel
setting MEAN             ""           mean      # B,G,R to subtract, or a mean file; empty: the network's own
setting DATABASE         ""           path      # pictures to search in
setting GROUND_TRUTH     ""           path      # in Oxford's layout: NAME_query.txt, NAME_good.txt, _ok, _junk; or gnd_roxford5k.pkl
setting TRAIN_PICTURES   ""           path      # a folder of class folders
setting TRAINING_SET     own          "own|sfm120k"       # what to download where TRAIN_PICTURES is not there
setting LANDMARK_URLS    ""           path      # a list of "url class" lines to download TRAIN_PICTURES from
setting SEED             1            count     # of everything drawn: data, augmentation, split, training
setting DATA_NOTE        ""           text      # a sentence under the tables: what the figures were measured on

# Section 4, augmentation
setting MIN_PICTURES     2            number    # a class with fewer good pictures is left out: both lists need one
setting NUM_WANTED       800          number    # the article fills every class up to 800: no class outweighs others
setting AUGMENT_ENGINE   keras        "keras|opencv|keras3"
setting INTERPOLATION    nearest      "nearest|bilinear"  # Keras of 2017 took the nearest pixel
setting STRETCH          yes          "yes|no"  # its save_to_dir made each copy's brightest value 255

# Section 5, fine-tuning
setting TRAIN_SHARE      0.6          share     # the article: 60 % to train, 40 % to validate, in each class
setting COPIES_ANYWHERE  no           "yes|no"  # yes: copies of one photograph in both lists, as in the article
setting RESIZE           256          number    # side in the LMDB: the network takes a crop of 224, so 32 to move in
setting FINETUNE_MODE    all          "all|last|two-phase"
setting EFFECTIVE_BATCH  ""           number?   # pictures a step, over all GPUs; empty: as in the prototxt
setting TRAIN_BATCH      ""           number?   # the most that a GPU takes at once; empty: as in the prototxt
setting TEST_BATCH       ""           number?   # empty: as in the prototxt; the lists are cut so that it divides them
setting MAX_ITER         ""           number?
setting BASE_LR          ""           rate?
setting FROM_SCRATCH     ""           number?   # so many iterations from nothing too, on the same pictures, to see the difference
setting SILENCE          ""           count?    # seconds without a line after which a training hangs, 0 never; empty: 3600 on GPUs
setting KEEP_SNAPSHOTS   3            number    # the newest so many; VGG16's take 1.1 GB each

# Section 1 and 6, features and scores
setting CPU_PRECISION    fp32         "fp32|bf16" # of features computed by a CPU: bf16 is faster, and not the article's
setting FC_DIM           128          number    # dimension that stands beside the article's 128 of fc6's and fc7's 4096
setting LAYERS           ""           words     # empty: the network's own
setting AS_PUBLISHED     no           "yes|no"  # beside the tables, what the author's code does and his text doesn't say
setting DIMS             "128 full none" dims   # PCA to the article's 128; to all that there are; without

# Section 2, representations of a whole map; empty: the network's own
setting MAP_LAYERS       ""           words     # maps to pool
setting POOLINGS         "sum,average,max,gem,crow,rmac,rmac_l1,rmac_l2,rmac_l4,rmac_sum,rmac_concat" text
setting MAX_SIDE         ""           number?   # longer side of a picture whose map is pooled, aspect kept
setting MIN_SIDE         ""           number?   # shorter side, of a query cut out mostly
setting DOUBLE_SIDE      ""           number?   # twice the network's input
setting MAP_DIMS         ""           dims
setting COMPARE_AT       ""           number?   # dimension that the claims are tried at
setting LEARN_FROM       ""           path      # other photographs, as papers whiten on; empty: DATABASE's, as the article
setting LEARN_FROM_NAME  "the searched pictures themselves" text
setting LEARN_SAMPLE     500          number    # so many of them for R-MAC's whitening of regions
setting MOP_SAMPLE       ""           number?   # so many for MOP-CNN; empty: as many
setting WHITEN_SAMPLE    10000        number    # so many at most for the whitening of whole pictures' vectors
setting MOP_STEP         32           number    # of MOP-CNN's windows in a picture of 256 x 256
setting MOP_CENTRES      100          number    # MOP-CNN's sizes are its paper's
setting MOP_WINDOW_DIMS  500          number
setting MOP_OUTPUT_DIMS  4096         number
