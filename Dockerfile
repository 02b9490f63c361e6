# For GPU nodes: make image                      docker run --gpus all -v "$PWD:/work" smartbkg-tf train model=resnet
# Without GPUs:  make image-cpu                  docker run -v "$PWD:/work" smartbkg-tf:cpu train model=resnet
# docs/containers.md has the same without make, and Apptainer.
FROM python:3.11-slim

# `gpu` brings CUDA as packages; the host needs only the driver. `generate` cannot be left out: see below.
ARG EXTRAS=gpu,train,generate,onnx,distributed,search

# Exact versions in a layer of their own, which a change of the source leaves as it is. Of the package
# itself there is only an empty shell here.
WORKDIR /opt/smartbkg_tf
COPY pyproject.toml requirements.lock ./
RUN mkdir smartbkg_tf conf \
 && touch README.md LICENSE smartbkg_tf/__init__.py \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c requirements.lock hatchling ".[${EXTRAS}]" \
 && /opt/venv/bin/pip uninstall --yes smartbkg_tf

ENV PATH=/opt/venv/bin:$PATH \
    # A folder smartbkg_tf/ in the user's folder must not take the place of this one.
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    # Compiled loops for any processor of this kind, not for the one that built the image.
    NUMBA_CPU_NAME=generic \
    # Without a home Keras would read its settings from /tmp.
    KERAS_HOME=/opt/smartbkg_tf/keras

COPY README.md LICENSE ./
COPY conf ./conf
COPY experiments ./experiments
COPY smartbkg_tf ./smartbkg_tf
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# A tiny chain leaves the compiled loops beside the installed source, where users read them and
# cannot write. An image in which it fails is not made.
WORKDIR /opt/warm_up
RUN smartbkg-tf produce event_type=mixed n_events=20 skim=all workers=1 output=all_skims \
 && smartbkg-tf produce event_type=mixed,taupair n_events=100 skim=low_multiplicity workers=1 output=tables \
 && smartbkg-tf preprocess input='tables/*.h5' output=dataset \
 && smartbkg-tf train model=resnet data.path=dataset training.epochs=1 run_dir=run \
 && smartbkg-tf apply run=run input='tables/*.h5' output=scores.parquet \
 && rm -rf all_skims tables dataset run scores.parquet /root/.cache /root/.config

# The home of whoever runs it: caches of matplotlib, numba and this package.
ENV HOME=/home/user
RUN install -d -m 1777 "$HOME"
VOLUME /home/user

# Files in a mounted folder belong to this user; --user "$(id -u):$(id -g)" chooses another.
ARG UID=1000
ARG GID=1000
USER ${UID}:${GID}
WORKDIR /work

HEALTHCHECK --interval=5m --timeout=1m CMD ["python", "-c", "from smartbkg_tf.events.vocabulary import default_vocabulary; default_vocabulary().tokens([211])"]

# docker run smartbkg-tf train model=resnet; also produce, preprocess, apply, evaluate, export.
ENTRYPOINT ["smartbkg-tf"]
CMD ["--help"]

# Last, so that a commit does not make other layers anew: git rev-parse HEAD, with +dirty after it if files were changed.
ARG COMMIT=
ENV SMARTBKG_TF_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="smartbkg_tf" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${COMMIT}"
