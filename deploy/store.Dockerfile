# The object store's image, for a user that is not root. A new named volume takes over the owner of
# the folder that it is mounted on. Not /data: the image may have declared that a volume already.
ARG STORE_IMAGE
FROM ${STORE_IMAGE}

USER 0:0
RUN mkdir -p /objects && chown 10001:10001 /objects
USER 10001:10001
