# Serving: `claimed-med serve`, the page of `claimed-med monitor`, and the components that deploy. It holds what all other
# images hold too: a Kubernetes Job runs a whole pipeline in one pod, and so in one image.
ARG BASE=localhost/claimed-med/torch
FROM ${BASE}
ARG EXTRAS=serve,monitor,network,map
ARG ALONE=
ARG REVISION=

ENV CLAIMED_MED_IMAGE=serve \
    CLAIMED_MED_REVISION=${REVISION}

USER 0:0
RUN --mount=type=bind,target=/context sh /context/install.sh
USER 1000:1000
