#ifdef USE_CUDNN
#include "cudnn_convolutions.hpp"

#include <algorithm>

#include "gpu_support.hpp"

namespace caffe {
namespace cudnn {

namespace {

// cudnnConvolutionFwdAlgo_t, BwdDataAlgo_t and BwdFilterAlgo_t, in the order of Pass.
const std::vector<const char*> kAlgorithms[] = {
    {"IMPLICIT_GEMM", "IMPLICIT_PRECOMP_GEMM", "GEMM", "DIRECT", "FFT", "FFT_TILING", "WINOGRAD",
     "WINOGRAD_NONFUSED"},
    {"0", "1", "FFT", "FFT_TILING", "WINOGRAD", "WINOGRAD_NONFUSED"},
    {"0", "1", "FFT", "3", "WINOGRAD", "WINOGRAD_NONFUSED", "FFT_TILING"},
};

// The first algorithm in a *_v7 call's list, fastest first, that runs in `limit` bytes of workspace; the
// one numbered 0 where none does. What it computes with is the convolution descriptor's: an algorithm
// listed as TF32's runs in FP32 there, so that in FP32 those listed as FP32's come first. With TF32
// cuDNN's order is taken as it is, whatever it calls their arithmetic.
template <typename Algorithm, typename Found, typename WorkspaceOf>
Algorithm FirstThatFits(const Found* found, int count, size_t limit, Algorithm unwanted,
                        WorkspaceOf workspace_of) {
  const bool fp32 = ConvolutionArithmetic() == CUDNN_FMA_MATH;
  for (const bool any_arithmetic : {!fp32, true}) {
    for (int i = 0; i < count; ++i) {
      size_t bytes = 0;
      if (found[i].status == CUDNN_STATUS_SUCCESS && found[i].algo != unwanted &&
          (any_arithmetic || found[i].mathType == CUDNN_FMA_MATH) &&
          workspace_of(found[i].algo, &bytes) == CUDNN_STATUS_SUCCESS && bytes <= limit)
        return found[i].algo;
    }
  }
  return static_cast<Algorithm>(0);
}

template <typename Dtype>
std::vector<std::vector<int>> ShapesOf(const std::vector<Blob<Dtype>*>& bottom,
                                       const std::vector<Blob<Dtype>*>& top) {
  std::vector<std::vector<int>> shapes;
  for (const auto* blobs : {&bottom, &top})
    for (const Blob<Dtype>* blob : *blobs) shapes.push_back(blob->shape());
  return shapes;
}

constexpr int kMost = 32;  // listed: more than there are, once for each arithmetic

}  // namespace

template <typename Dtype>
Convolutions<Dtype>::~Convolutions() {
  if (!described_) return;
  CUDNN_CHECK(cudnnDestroyTensorDescriptor(picture_));
  CUDNN_CHECK(cudnnDestroyTensorDescriptor(map_));
  CUDNN_CHECK(cudnnDestroyTensorDescriptor(bias_));
  CUDNN_CHECK(cudnnDestroyFilterDescriptor(weight_));
  CUDNN_CHECK(cudnnDestroyConvolutionDescriptor(convolution_));
}

template <typename Dtype>
bool Convolutions<Dtype>::AreReshaped(const std::vector<Blob<Dtype>*>& bottom,
                                      const std::vector<Blob<Dtype>*>& top) const {
  return ShapesOf(bottom, top) != shapes_;
}

template <typename Dtype>
void Convolutions<Dtype>::Reshape(const ConvolutionShape& shape, const std::vector<Blob<Dtype>*>& bottom,
                                  const std::vector<Blob<Dtype>*>& top, const std::string& layer) {
  if (!described_) {
    createTensor4dDesc<Dtype>(&picture_);
    createTensor4dDesc<Dtype>(&map_);
    createTensor4dDesc<Dtype>(&bias_);
    CUDNN_CHECK(cudnnCreateFilterDescriptor(&weight_));
    createConvolutionDesc<Dtype>(&convolution_);
    described_ = true;
  }
  shapes_ = ShapesOf(bottom, top);
  shape_ = shape;
  layer_ = layer;
  limit_ = CudnnWorkspaceLimit();
  for (Chosen& chosen : chosen_) chosen = Chosen();
  const int group = shape.group, picture_area = shape.picture_height * shape.picture_width;
  const int map_area = shape.map_height * shape.map_width;
  const int picture_channels = shape.picture_channels / group, map_channels = shape.map_channels / group;
  const int bias_channels = transposed_ ? picture_channels : map_channels;
  setTensor4dDesc<Dtype>(&picture_, shape.count, picture_channels, shape.picture_height, shape.picture_width,
                         shape.picture_channels * picture_area, picture_area, shape.picture_width, 1);
  setTensor4dDesc<Dtype>(&map_, shape.count, map_channels, shape.map_height, shape.map_width,
                         shape.map_channels * map_area, map_area, shape.map_width, 1);
  setTensor4dDesc<Dtype>(&bias_, 1, bias_channels, 1, 1);
  CUDNN_CHECK(cudnnSetFilter4dDescriptor(weight_, dataType<Dtype>::type, CUDNN_TENSOR_NCHW, map_channels,
                                         picture_channels, shape.kernel_height, shape.kernel_width));
  setConvolutionDesc<Dtype>(&convolution_, picture_, weight_, shape.pad_height, shape.pad_width,
                            shape.stride_height, shape.stride_width);
  picture_step_ = static_cast<size_t>(picture_channels) * picture_area;
  map_step_ = static_cast<size_t>(map_channels) * map_area;
  weight_step_ =
      static_cast<size_t>(map_channels) * picture_channels * shape.kernel_height * shape.kernel_width;
  bias_step_ = bias_channels;
}

template <typename Dtype>
void Convolutions<Dtype>::Choose(Pass pass) {
  cudnnMathType_t arithmetic;
  CUDNN_CHECK(cudnnGetConvolutionMathType(convolution_, &arithmetic));
  CHECK_EQ(arithmetic, ConvolutionArithmetic()) << "TF32 where FP32 was asked for, or the other way round";
  const cudnnHandle_t handle = shared_->handle(0);
  Chosen& chosen = chosen_[pass];
  int count = 0;
  if (pass == kToMap) {
    const auto workspace_of = [&](cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
      return cudnnGetConvolutionForwardWorkspaceSize(handle, picture_, weight_, convolution_, map_, algorithm,
                                                     bytes);
    };
    cudnnConvolutionFwdAlgoPerf_t found[kMost];
    CUDNN_CHECK(cudnnGetConvolutionForwardAlgorithm_v7(handle, picture_, weight_, convolution_, map_, kMost,
                                                       &count, found));
    // BVLC found IMPLICIT_PRECOMP_GEMM wrong as a deconvolution's gradient and went without it there
    const auto unwanted =
        transposed_ ? CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM : CUDNN_CONVOLUTION_FWD_ALGO_COUNT;
    const auto algorithm = FirstThatFits(found, count, limit_, unwanted, workspace_of);
    CUDNN_CHECK(workspace_of(algorithm, &chosen.bytes));
    chosen.algorithm = algorithm;
  } else if (pass == kToPicture) {
    const auto workspace_of = [&](cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
      return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, weight_, map_, convolution_, picture_,
                                                          algorithm, bytes);
    };
    cudnnConvolutionBwdDataAlgoPerf_t found[kMost];
    CUDNN_CHECK(cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, weight_, map_, convolution_, picture_,
                                                            kMost, &count, found));
    const auto algorithm =
        FirstThatFits(found, count, limit_, CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, workspace_of);
    CUDNN_CHECK(workspace_of(algorithm, &chosen.bytes));
    chosen.algorithm = algorithm;
  } else {
    const auto workspace_of = [&](cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
      return cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, picture_, map_, convolution_, weight_,
                                                            algorithm, bytes);
    };
    cudnnConvolutionBwdFilterAlgoPerf_t found[kMost];
    CUDNN_CHECK(cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, picture_, map_, convolution_, weight_,
                                                              kMost, &count, found));
    const auto algorithm =
        FirstThatFits(found, count, limit_, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, workspace_of);
    CUDNN_CHECK(workspace_of(algorithm, &chosen.bytes));
    chosen.algorithm = algorithm;
  }
  chosen.done = true;
  if (!CudnnLog()) return;
  static const char* const kPasses[] = {"cudnnConvolutionForward", "cudnnConvolutionBackwardData",
                                        "cudnnConvolutionBackwardFilter"};
  LOG(INFO) << layer_ << ": " << kPasses[pass] << " by algorithm " << kAlgorithms[pass].at(chosen.algorithm)
            << ", " << (arithmetic == CUDNN_FMA_MATH ? "FP32" : "TF32 allowed") << ", " << chosen.bytes
            << " bytes of workspace, for " << shape_.count << " x " << shape_.picture_channels << " x "
            << shape_.picture_height << " x " << shape_.picture_width;
}

template <typename Dtype>
size_t Convolutions<Dtype>::BytesOf(std::initializer_list<Pass> passes, size_t places) {
  size_t bytes = 0;
  for (const Pass pass : passes) {
    if (!chosen_[pass].done) Choose(pass);
    bytes += places * ((chosen_[pass].bytes + 511) / 512 * 512);
  }
  return bytes;
}

// `places` workspaces for each pass, one behind the other. Where the GPU has no room for them, algorithms
// that need less are chosen, for this shape from now on.
template <typename Dtype>
char* Convolutions<Dtype>::WorkspaceFor(std::initializer_list<Pass> passes, size_t places) {
  size_t bytes;
  while ((bytes = BytesOf(passes, places)) > 0) {
    if (void* const workspace = shared_->Workspace(bytes)) return static_cast<char*>(workspace);
    CHECK_GT(limit_, 0) << layer_ << " needs " << bytes << " bytes of workspace: out of memory";
    limit_ = std::min(limit_, bytes / places) / 2;
    if (limit_ < 1 << 20) limit_ = 0;
    for (Chosen& chosen : chosen_) chosen.done = false;
  }
  return nullptr;
}

template <typename Dtype>
void Convolutions<Dtype>::Run(Pass pass, int which, void* workspace, const Dtype* from, const Dtype* with,
                              Dtype* to, int group) {
  const cudnnHandle_t handle = shared_->handle(which);
  const void *const one = dataType<Dtype>::one, *const zero = dataType<Dtype>::zero;
  const Chosen& chosen = chosen_[pass];
  if (pass == kToMap)
    CUDNN_CHECK(cudnnConvolutionForward(handle, one, picture_, from + group * picture_step_, weight_,
                                        with + group * weight_step_, convolution_,
                                        static_cast<cudnnConvolutionFwdAlgo_t>(chosen.algorithm), workspace,
                                        chosen.bytes, zero, map_, to + group * map_step_));
  else if (pass == kToPicture)
    CUDNN_CHECK(cudnnConvolutionBackwardData(
        handle, one, weight_, with + group * weight_step_, map_, from + group * map_step_, convolution_,
        static_cast<cudnnConvolutionBwdDataAlgo_t>(chosen.algorithm), workspace, chosen.bytes, zero, picture_,
        to + group * picture_step_));
  else  // from the picture and with the map; added to what is there
    CUDNN_CHECK(cudnnConvolutionBackwardFilter(
        handle, one, picture_, from + group * picture_step_, map_, with + group * map_step_, convolution_,
        static_cast<cudnnConvolutionBwdFilterAlgo_t>(chosen.algorithm), workspace, chosen.bytes, one, weight_,
        to + group * weight_step_));
}

template <typename Dtype>
void Convolutions<Dtype>::Forward(const Dtype* bottom, const Dtype* weight, const Dtype* bias, Dtype* top) {
  const Pass pass = transposed_ ? kToPicture : kToMap;
  const bool side_by_side = shape_.group > 1;
  char* const workspace = WorkspaceFor({pass}, side_by_side ? 2 : 1);
  for (int group = 0; group < shape_.group; ++group) {
    const int which = side_by_side ? 1 + group % 2 : 0;
    Run(pass, which, workspace + (which == 2 ? BytesOf({pass}, 1) : 0), bottom, weight, top, group);
    if (bias)
      CUDNN_CHECK(cudnnAddTensor(shared_->handle(which), dataType<Dtype>::one, bias_,
                                 bias + group * bias_step_, dataType<Dtype>::one,
                                 transposed_ ? picture_ : map_,
                                 top + group * (transposed_ ? picture_step_ : map_step_)));
  }
  if (side_by_side) shared_->Join();
}

template <typename Dtype>
void Convolutions<Dtype>::Backward(const Dtype* bottom, const Dtype* weight, const Dtype* top_diff,
                                   Dtype* weight_diff, Dtype* bias_diff, Dtype* bottom_diff) {
  const Pass to_bottom = transposed_ ? kToMap : kToPicture;
  char* workspace = nullptr;
  if (weight_diff && bottom_diff)
    workspace = WorkspaceFor({kToWeight, to_bottom}, 1);
  else if (weight_diff)
    workspace = WorkspaceFor({kToWeight}, 1);
  else if (bottom_diff)
    workspace = WorkspaceFor({to_bottom}, 1);
  for (int group = 0; group < shape_.group; ++group) {
    if (weight_diff)
      Run(kToWeight, 1, workspace, transposed_ ? top_diff : bottom, transposed_ ? bottom : top_diff,
          weight_diff, group);
    if (bottom_diff)
      Run(to_bottom, 2, workspace + (weight_diff ? BytesOf({kToWeight}, 1) : 0), top_diff, weight,
          bottom_diff, group);
  }
  // last, as the default stream waits for the two others
  for (int group = 0; bias_diff && group < shape_.group; ++group)
    CUDNN_CHECK(cudnnConvolutionBackwardBias(shared_->handle(0), dataType<Dtype>::one,
                                             transposed_ ? picture_ : map_,
                                             top_diff + group * (transposed_ ? picture_step_ : map_step_),
                                             dataType<Dtype>::one, bias_, bias_diff + group * bias_step_));
  shared_->Join();
}

template class Convolutions<float>;
template class Convolutions<double>;

}  // namespace cudnn
}  // namespace caffe
#endif  // USE_CUDNN
