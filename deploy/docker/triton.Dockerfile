# syntax=docker/dockerfile:1.7
# The encoder: NVIDIA's Triton with what model_repo/audio_encoder/model.py imports.
#
#     docker build --file deploy/docker/triton.Dockerfile --tag auricle/encoder:0.1.0 .
#
# Its Python is 3.12, while the code is tested on 3.11 and with the Triton of requirements-wheels.txt: try it before use.
# The same image runs with and without a GPU. TORCH_INDEX says where torch comes from: left empty it is PyPI's build
# with CUDA; PyTorch's own index of CPU builds makes the CPU variant.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:25.06-py3

FROM ${TRITON_IMAGE} AS packages
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt deploy/docker/triton-requirements.txt ./
# Into a folder of their own, so that neither the image's packages nor these change the other's versions.
RUN python3 -m pip install --target /opt/packages --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} --requirement triton-requirements.txt

FROM ${TRITON_IMAGE}
# services.encoder.lifeline kills the server when its model's process dies. The kernel spares a container's first
# process from such a signal, so the server must not be it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 auricle \
    && useradd --uid 10001 --gid auricle --no-create-home --home-dir /tmp --shell /usr/sbin/nologin auricle
ENV PYTHONPATH=/opt/auricle:/opt/packages \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=268435456 \
    HOME=/tmp \
    AURICLE_ENCODER_HOST=0.0.0.0 \
    AURICLE_ENCODER_TRITON=/opt/tritonserver/bin/tritonserver
WORKDIR /opt/auricle
COPY --from=packages /opt/packages /opt/packages
COPY model_repo model_repo
COPY services services
USER 10001:10001
EXPOSE 8403 8404 8413
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8404/v2/health/ready', timeout=3)"]
ENTRYPOINT ["tini", "--"]
CMD ["python3", "-m", "services.encoder.serve"]
