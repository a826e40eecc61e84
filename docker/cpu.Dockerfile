# Components of image "cpu", and the library under the other images.
# docker/build.py gives the base by digest and a folder of wheels: nothing is fetched here.
ARG BASE=localhost/claimed-med/base
FROM ${BASE}
ARG EXTRAS=remote,ocr,provenance
ARG ALONE=rapidocr-onnxruntime==1.4.4
ARG REVISION=

# HOME is the only place that may be written, and it may be a tmpfs; any user id works, also one without a name
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=claimed \
    LOGNAME=claimed \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CLAIMED_MED_IMAGE=cpu \
    CLAIMED_MED_REVISION=${REVISION}

RUN --mount=type=bind,target=/context sh /context/install.sh

USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["claimed-med"]
CMD ["list"]
