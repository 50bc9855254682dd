// caffe_gpus        prints the GPUs that this Caffe can use, as "0,1"; an empty line where there is none
// caffe_gpus 0,1    says on stderr why these can't be used, exit status 1; quiet where they can
#include <cstdio>
#include <cstring>

#include "gpu_support.hpp"

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    std::puts(
        "Usage: caffe_gpus [0,1]\nPrints the GPUs that Caffe can use here, or checks that these can be "
        "used.");
    return argc == 2 && (!std::strcmp(argv[1], "--help") || !std::strcmp(argv[1], "-h")) ? 0 : 2;
  }
  if (argc == 2) {
    caffe::RequireGpus(argv[1]);
    return 0;
  }
  const char* separator = "";
  for (const int device : caffe::UsableGpus()) {
    std::printf("%s%d", separator, device);
    separator = ",";
  }
  std::puts("");
}
