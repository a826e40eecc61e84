# Components of image "network": they talk to archives (DIMSE and DICOMweb).
ARG BASE=localhost/claimed-med/cpu
FROM ${BASE}
ARG EXTRAS=network
ARG ALONE=
ARG REVISION=

ENV CLAIMED_MED_IMAGE=network \
    CLAIMED_MED_REVISION=${REVISION}

USER 0:0
RUN --mount=type=bind,target=/context sh /context/install.sh
USER 1000:1000
