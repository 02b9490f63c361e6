# CPU:  docker build -t smartbkg_tf .
# GPU:  docker build -t smartbkg_tf:gpu --build-arg EXTRAS=gpu,train,generate,onnx,distributed .
#       docker run --gpus all -v "$PWD:/work" smartbkg_tf:gpu train model=resnet data.path=dataset
FROM python:3.11-slim

# The pip package of TensorFlow for GPUs brings CUDA itself; the host needs only the driver.
ARG EXTRAS=train,generate,onnx,distributed
# Give your own (id -u, id -g) so that files in a mounted folder belong to you.
ARG UID=1000
ARG GID=1000

RUN groupadd --gid "${GID}" physicist \
 && useradd --uid "${UID}" --gid "${GID}" --create-home physicist

COPY pyproject.toml requirements.lock README.md LICENSE /opt/smartbkg_tf/
COPY smartbkg_tf /opt/smartbkg_tf/smartbkg_tf
COPY conf /opt/smartbkg_tf/conf
COPY experiments /opt/smartbkg_tf/experiments

RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c /opt/smartbkg_tf/requirements.lock "/opt/smartbkg_tf[${EXTRAS}]" \
 && /opt/venv/bin/python -m smartbkg_tf.config validate train model=resnet

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib

USER physicist
WORKDIR /work

# docker run smartbkg_tf train model=resnet; also produce, preprocess, apply, evaluate, export.
ENTRYPOINT ["python", "-m", "smartbkg_tf"]
CMD ["--help"]
