# shellcheck shell=bash
# Sourced by build.sh and fetch_source.sh: what of a source of Caffe counts, and whether CAFFE_SOURCE is one.

content_of() { # a source's folder: a sum of what is compiled and tested
    (cd "$1" && find include python src tools examples/images ! -type d -print0 2>/dev/null | LC_ALL=C sort -z |
        xargs -0 -r sha256sum | sha256sum | cut -d' ' -f1)
}

own_content() { # of CAFFE_SOURCE: what changes with it
    if [[ -d $CAFFE_SOURCE ]]; then content_of "$CAFFE_SOURCE"; else sha256sum <"$CAFFE_SOURCE" | cut -d' ' -f1; fi
}

own_problem() { # a sentence, where CAFFE_SOURCE is no source
    if [[ -d $CAFFE_SOURCE ]]; then
        [[ -f $CAFFE_SOURCE/src/caffe/proto/caffe.proto ]] ||
            echo "CAFFE_SOURCE=$CAFFE_SOURCE holds no Caffe (src/caffe/proto/caffe.proto is missing)"
    elif [[ -f $CAFFE_SOURCE ]]; then
        tar -tf "$CAFFE_SOURCE" 2>/dev/null | grep 'src/caffe/proto/caffe\.proto$' >/dev/null ||
            echo "CAFFE_SOURCE=$CAFFE_SOURCE is no tarball of Caffe"
    else
        echo "CAFFE_SOURCE=$CAFFE_SOURCE does not exist"
    fi
}
