# A job in bash, in an image without Python. Build it from the root of the repository, after `make bundle`:
#
#     docker build -f examples/docker/Dockerfile.bash -t load-fees .
#
# Any base will do, also one without a C library: the bundle has its own.
ARG BASE=debian:bookworm-slim

FROM ${BASE}
COPY dist/openlineage-pod /openlineage-pod
COPY examples/docker/load.sh /app/
# A number and no name: with runAsNonRoot Kubernetes refuses an image whose user it cannot tell from root.
USER 1000:1000
# The exec form: openlineage-pod is PID 1, gets the SIGTERM with which Kubernetes ends a pod, and forwards it. Arguments
# of the pod replace CMD.
ENTRYPOINT ["/openlineage-pod/openlineage-pod", "run", "--"]
CMD ["bash", "/app/load.sh"]
