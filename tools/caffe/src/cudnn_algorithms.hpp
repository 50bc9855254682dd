// The calls by which Caffe chooses cuDNN's algorithms, gone since cuDNN 8, on top of what took their place: a
// list, fastest first, of which we take the first that fits. To be included by caffe/util/cudnn.hpp. Ours,
// not BVLC's.
#ifndef CAFFE_CUDNN_ALGORITHMS_HPP_
#define CAFFE_CUDNN_ALGORITHMS_HPP_

enum cudnnConvolutionFwdPreference_t { CUDNN_CONVOLUTION_FWD_SPECIFY_WORKSPACE_LIMIT };
enum cudnnConvolutionBwdFilterPreference_t { CUDNN_CONVOLUTION_BWD_FILTER_SPECIFY_WORKSPACE_LIMIT };
enum cudnnConvolutionBwdDataPreference_t { CUDNN_CONVOLUTION_BWD_DATA_SPECIFY_WORKSPACE_LIMIT };

namespace caffe {
namespace cudnn {

// The first algorithm in a *_v7 call's list that runs with this descriptor's arithmetic in `limit` bytes of
// workspace; `otherwise` where none does. An algorithm may be listed once for FP32 and once for TF32:
// workspace_of(algorithm, &bytes) asks cuDNN what it needs in ours.
template <typename Found, typename Algorithm, typename WorkspaceOf>
Algorithm FirstThatFits(const Found* found, int count, cudnnConvolutionDescriptor_t convolution, size_t limit,
                        Algorithm otherwise, WorkspaceOf workspace_of) {
  cudnnMathType_t ours;
  CUDNN_CHECK(cudnnGetConvolutionMathType(convolution, &ours));
  for (const bool same_arithmetic : {true, false}) {
    for (int i = 0; i < count; ++i) {
      size_t bytes = 0;
      if (found[i].status == CUDNN_STATUS_SUCCESS && (found[i].mathType == ours) == same_arithmetic &&
          workspace_of(found[i].algo, &bytes) == CUDNN_STATUS_SUCCESS && bytes <= limit)
        return found[i].algo;
    }
  }
  return otherwise;
}

}  // namespace cudnn
}  // namespace caffe

inline cudnnStatus_t cudnnGetConvolutionForwardAlgorithm(cudnnHandle_t handle, cudnnTensorDescriptor_t x,
                                                         cudnnFilterDescriptor_t w,
                                                         cudnnConvolutionDescriptor_t convolution,
                                                         cudnnTensorDescriptor_t y,
                                                         cudnnConvolutionFwdPreference_t, size_t limit,
                                                         cudnnConvolutionFwdAlgo_t* algorithm) {
  cudnnConvolutionFwdAlgoPerf_t found[2 * CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionForwardAlgorithm_v7(
      handle, x, w, convolution, y, 2 * CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, found);
  *algorithm = caffe::cudnn::FirstThatFits(
      found, count, convolution, limit, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
      [&](cudnnConvolutionFwdAlgo_t candidate, size_t* bytes) {
        return cudnnGetConvolutionForwardWorkspaceSize(handle, x, w, convolution, y, candidate, bytes);
      });
  return status;
}

inline cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm(
    cudnnHandle_t handle, cudnnTensorDescriptor_t x, cudnnTensorDescriptor_t dy,
    cudnnConvolutionDescriptor_t convolution, cudnnFilterDescriptor_t dw,
    cudnnConvolutionBwdFilterPreference_t, size_t limit, cudnnConvolutionBwdFilterAlgo_t* algorithm) {
  cudnnConvolutionBwdFilterAlgoPerf_t found[2 * CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionBackwardFilterAlgorithm_v7(
      handle, x, dy, convolution, dw, 2 * CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &count, found);
  *algorithm =
      caffe::cudnn::FirstThatFits(found, count, convolution, limit, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0,
                                  [&](cudnnConvolutionBwdFilterAlgo_t candidate, size_t* bytes) {
                                    return cudnnGetConvolutionBackwardFilterWorkspaceSize(
                                        handle, x, dy, convolution, dw, candidate, bytes);
                                  });
  return status;
}

inline cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm(
    cudnnHandle_t handle, cudnnFilterDescriptor_t w, cudnnTensorDescriptor_t dy,
    cudnnConvolutionDescriptor_t convolution, cudnnTensorDescriptor_t dx, cudnnConvolutionBwdDataPreference_t,
    size_t limit, cudnnConvolutionBwdDataAlgo_t* algorithm) {
  cudnnConvolutionBwdDataAlgoPerf_t found[2 * CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
  int count = 0;
  const cudnnStatus_t status = cudnnGetConvolutionBackwardDataAlgorithm_v7(
      handle, w, dy, convolution, dx, 2 * CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &count, found);
  *algorithm = caffe::cudnn::FirstThatFits(
      found, count, convolution, limit, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
      [&](cudnnConvolutionBwdDataAlgo_t candidate, size_t* bytes) {
        return cudnnGetConvolutionBackwardDataWorkspaceSize(handle, w, dy, convolution, dx, candidate, bytes);
      });
  return status;
}

#endif  // CAFFE_CUDNN_ALGORITHMS_HPP_
