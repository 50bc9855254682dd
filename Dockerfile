# The article and real Caffe in one image, for the CPU or for NVIDIA's GPUs too. README.md, 'In a container', has the rest.
#   docker build -t caffe-article .                                    the CPU alone
#   docker build -t caffe-article:cuda --build-arg CUDA=1 .            Turing to Blackwell; ARCH=90 compiles for one
#   --build-arg BASE=debian:trixie-slim                                on Debian 13
#   --build-arg APT_MIRROR=http://HOST/debian, PIP_INDEX_URL=https://HOST/simple    where packages come from; not kept
ARG BASE=debian:bookworm-slim
ARG CUDA
FROM ${BASE} AS base
ENV CAFFE_PREFIX=/opt/caffe CAFFE_VENV=/opt/venv LC_ALL=C.UTF-8
WORKDIR /opt/article

# The last stage's packages are fetched in one of their own: that one installs them from files, and knows of no mirror.
FROM base AS packages
ARG APT_MIRROR APT_SECURITY_MIRROR
COPY tools/packages.sh tools/apt-packages.txt tools/
RUN tools/packages.sh --download /packages run image

# Compilers and source live and die in this stage. It copies what Caffe and the virtual environment are made from and
# nothing else, so that a change to any other file leaves it as it is. Each download has a step of its own, and what pip
# and apt had before a connection was cut is kept between builds.
FROM base AS build
ARG APT_MIRROR APT_SECURITY_MIRROR
ENV PIP_CACHE_DIR=/var/cache/pip
COPY tools/packages.sh tools/apt-packages.txt tools/
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked tools/packages.sh --install run build
COPY tools/setup.sh tools/requirements.txt tools/
ARG PIP_INDEX_URL
RUN --mount=type=cache,target=/var/cache/pip tools/setup.sh --venv
COPY tools/caffe tools/caffe
COPY eval/compute_ap.cpp eval/
ARG CUDA=0
ARG ARCH="75;80;90;100;120"
RUN --mount=type=cache,target=/var/cache/pip \
    if [ "$CUDA" = 0 ]; then tools/setup.sh --cpu; \
    else CAFFE_CUDA=$CUDA tools/setup.sh --arch "$ARCH" && tools/caffe/build.sh --test; fi \
    && rm -rf "$CAFFE_PREFIX/build" "$CAFFE_PREFIX/wheels" "$CAFFE_PREFIX/downloads" \
    && find "$CAFFE_VENV" -type d -path '*/site-packages/*/tests' -prune -exec rm -rf {} + \
    && "$CAFFE_VENV/bin/pip" uninstall -q -y setuptools pip

FROM base AS image-0
LABEL org.opencontainers.image.title="Layer selection and fine-tuning for image retrieval, on BVLC Caffe" \
      org.opencontainers.image.description="Reproduces the article's tables; runs on the CPU, and where built with CUDA=1 on NVIDIA's GPUs from Turing to Blackwell (driver 580 or later)"
# podman mounts a stage that it has from an earlier build only where something is copied from it too
COPY --from=packages /opt/article/tools/apt-packages.txt tools/
# OpenCV's reader of pictures brings libGL by way of its many formats; the drivers behind that (160 MB) draw nothing here
RUN --mount=type=bind,from=packages,source=/packages,target=/packages \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends /packages/*.deb >/dev/null \
    && dpkg-query -W -f '${Package}\n' libgl1-mesa-dri mesa-libgallium 'libllvm*' libz3-4 2>/dev/null \
       | xargs dpkg --purge --force-depends >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 1000 --create-home --shell /bin/bash caffe \
    && install -d -o caffe -g caffe /workspace /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/caffe /opt/caffe
COPY . .

# runs go to /workspace, the article's downloads to /data
ENV WORK_DIR=/workspace DATA_DIR=/data
VOLUME /workspace /data
USER caffe
STOPSIGNAL SIGTERM
# a first process that passes signals on: the kernel keeps them from one that does not ask for them
ENTRYPOINT ["tini", "--", "/opt/article/tools/entrypoint.sh"]

# For GPUs: what NVIDIA's container toolkit reads. Without a driver for CUDA 13 the container doesn't start, and the
# message says which it needs; an image that computes on the CPU has none of this, or it would not start without NVIDIA's.
FROM image-0 AS image-1
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility NVIDIA_REQUIRE_CUDA="cuda>=13.0" \
    CUDA_DEVICE_ORDER=PCI_BUS_ID

# the default stands here, as podman looks for what a stage needs before it reads defaults
FROM image-${CUDA:-0}
