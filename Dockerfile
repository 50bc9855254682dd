# The article and real Caffe in one image, for the CPU or for NVIDIA's GPUs too. README.md, 'In a container', has the rest.
#   docker build -t caffe-article .                                    the CPU alone
#   docker build -t caffe-article:cuda --build-arg CUDA=1 .            Turing to Blackwell; ARCH=90 compiles for one
FROM debian:bookworm-slim AS base
ENV CAFFE_PREFIX=/opt/caffe CAFFE_VENV=/opt/venv LC_ALL=C.UTF-8
WORKDIR /opt/article

# Compilers and source live and die in this stage. It copies what Caffe and the virtual environment are made from and
# nothing else, so that a change to any other file leaves it as it is.
FROM base AS build
COPY tools/setup.sh tools/apt-packages.txt tools/requirements.txt tools/
COPY tools/caffe tools/caffe
COPY eval/compute_ap.cpp eval/
ARG CUDA=0
ARG ARCH="75;80;86;89;90;100;120"
ARG PIP_NO_CACHE_DIR=1
RUN if [ "$CUDA" = 0 ]; then tools/setup.sh --cpu; \
    else CAFFE_CUDA=$CUDA tools/setup.sh --arch "$ARCH" && tools/caffe/build.sh --test; fi \
    && rm -rf "$CAFFE_PREFIX/build" "$CAFFE_PREFIX/wheels" "$CAFFE_PREFIX/downloads" \
    && find "$CAFFE_VENV" -type d -path '*/site-packages/*/tests' -prune -exec rm -rf {} + \
    && "$CAFFE_VENV/bin/pip" uninstall -q -y setuptools pip

FROM base
LABEL org.opencontainers.image.title="Layer selection and fine-tuning for image retrieval, on BVLC Caffe" \
      org.opencontainers.image.description="Reproduces the article's tables; runs on the CPU, and where built with CUDA=1 on NVIDIA's GPUs from Turing to Blackwell (driver 580 or later)"
COPY tools/apt-packages.txt tools/
# OpenCV's reader of pictures brings libGL by way of its many formats; the drivers behind that (160 MB) draw nothing here
RUN apt-get update -qq \
    && awk '$1 == "run" { print $2 }' tools/apt-packages.txt \
       | DEBIAN_FRONTEND=noninteractive xargs apt-get install -y -qq --no-install-recommends tini >/dev/null \
    && dpkg --purge --force-depends libgl1-mesa-dri libllvm15 libz3-4 >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 1000 --create-home --shell /bin/bash caffe \
    && install -d -o caffe -g caffe /workspace /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/caffe /opt/caffe
COPY . .

# runs go to /workspace, the article's downloads to /data; NVIDIA's container toolkit reads its two variables
ENV WORK_DIR=/workspace DATA_DIR=/data NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /workspace /data
USER caffe
STOPSIGNAL SIGTERM
# a first process that passes signals on: the kernel keeps them from one that does not ask for them
ENTRYPOINT ["tini", "--", "/opt/article/tools/entrypoint.sh"]
