# Components of image "torch": networks on CPU, with the weights that come in wheels.
ARG BASE=localhost/claimed-med/cpu
FROM ${BASE}
ARG EXTRAS=torch
ARG ALONE=
ARG REVISION=

# large batches: memory that was freed is kept, instead of being mapped and cleared anew (1.4-1.7 times as fast)
ENV MALLOC_MMAP_MAX_=0 \
    MALLOC_TRIM_THRESHOLD_=8589934592 \
    MALLOC_TOP_PAD_=268435456 \
    CLAIMED_MED_IMAGE=torch \
    CLAIMED_MED_REVISION=${REVISION}

USER 0:0
RUN --mount=type=bind,target=/context sh /context/install.sh
USER 1000:1000
