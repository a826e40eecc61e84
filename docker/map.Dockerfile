# Components of image "map": they draw on a map of the world.
ARG BASE=localhost/claimed-med/cpu
FROM ${BASE}
ARG EXTRAS=map
ARG ALONE=
ARG REVISION=

ENV CLAIMED_MED_IMAGE=map \
    CLAIMED_MED_REVISION=${REVISION}

USER 0:0
RUN --mount=type=bind,target=/context sh /context/install.sh
USER 1000:1000
