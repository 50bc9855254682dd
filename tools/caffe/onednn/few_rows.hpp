// A matrix product of few rows with many weights, as a fully connected layer's is for a batch of pictures.
#ifndef CAFFE_ONEDNN_FEW_ROWS_HPP_
#define CAFFE_ONEDNN_FEW_ROWS_HPP_

#include <cstddef>

namespace caffe {
namespace onednn {

// Whether FewRows has an advantage over OpenBLAS, which copies the weights into an order of its own before it
// multiplies: they are larger than a core's cache, the rows are few, and the CPU has AVX-512. VGG16's fc6 on
// 2 cores of a Xeon: 8 rows in 24 ms against 45, 32 in 46 against 61, 64 in 84 against 74.
bool FewRowsPay(int rows, size_t inputs, size_t outputs);

// y = x weights' + bias (null: none), all of them plain: x is rows x inputs, weights outputs x inputs, y rows
// x outputs. Weights are read once, as they lie. Each number of y is added up in an order of its own that
// neither the number of rows nor that of threads changes.
void FewRows(const float* x, int rows, const float* weights, size_t inputs, size_t outputs, const float* bias,
             float* y);

}  // namespace onednn
}  // namespace caffe

#endif  // CAFFE_ONEDNN_FEW_ROWS_HPP_
