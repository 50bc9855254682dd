// LD_PRELOAD it under a CUDA build of Caffe where there is no GPU: every call of CUDA's runtime, cuBLAS,
// cuRAND, cuDNN and NCCL that Caffe makes is answered here, with host memory as the device's, and written
// down. Kernels do not run and nothing is computed: it shows which calls come in which order from which
// thread, not what a GPU makes of them.
// - SHIM_LOG: file of the calls, a line each: THREAD DEVICE NAME DETAILS; "BAD ..." is wrong on any GPU
// - SHIM_GPUS: how many there are (1)
// - SHIM_CAPABILITY (9.0), SHIM_DRIVER (13000), SHIM_MEMORY: what they are, memory in bytes
// - SHIM_TAKEN: number of one that another process has to itself
// - SHIM_LOST: GPU:CALL, that one answers with an error from its so many-th call on
// - SHIM_HANG: 1 where what NCCL is given never ends
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cudnn.h>
#include <curand.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <nccl.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace {

long Number(const char* name, long otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? std::atol(value) : otherwise;
}

const long kGpus = Number("SHIM_GPUS", 1), kDriver = Number("SHIM_DRIVER", 13000),
           kTaken = Number("SHIM_TAKEN", -1);
const size_t kMemory = Number("SHIM_MEMORY", 1L << 40);

std::atomic<int> threads{0};
thread_local int thread_number = -1, device = 0;
thread_local cudaError_t last_error = cudaSuccess;
std::atomic<bool> main_has_ended{false};
struct Memory {
  size_t bytes;
  int device;
};
struct State {
  std::mutex mutex;  // of all that follows
  std::map<char*, Memory> memory;
  std::map<int, size_t> used;
  std::map<int, long> calls;
  std::set<int> contexts;
  std::map<const void*, std::string> kernels;
};
// Libraries register their kernels before this one's own beginning, and let go of them after its end.
State& Now() {
  static State* const state = new State;
  return *state;
}

void Say(const char* form, ...) {
  static const int file = [] {
    const char* path = std::getenv("SHIM_LOG");
    return path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
  }();
  if (file < 0) return;
  if (thread_number < 0) thread_number = threads++;
  char line[500];
  int length = std::snprintf(line, sizeof line, "%d %d ", thread_number, device);
  va_list rest;
  va_start(rest, form);
  length += std::vsnprintf(line + length, sizeof line - length - 1, form, rest);
  va_end(rest);
  length = std::min<int>(length, sizeof line - 2);
  line[length++] = '\n';
  if (write(file, line, length) != length) std::abort();
}

// Every call comes by here: written down, and answered with an error where the device is lost or not to be
// had.
cudaError_t Call(const char* name, bool needs_context = true) {
  if (main_has_ended) Say("BAD after main: %s", name);
  if (!needs_context) return cudaSuccess;
  const std::lock_guard<std::mutex> lock(Now().mutex);
  static const std::string lost = std::getenv("SHIM_LOST") ? std::getenv("SHIM_LOST") : "";
  cudaError_t error = cudaSuccess;
  if (device == kTaken)
    error = cudaErrorDevicesUnavailable;
  else if (Now().contexts.insert(device).second)
    Say("context");
  const long call = ++Now().calls[device];
  if (!lost.empty() && std::atoi(lost.c_str()) == device &&
      call >= std::atol(lost.c_str() + lost.find(':') + 1))
    error = cudaErrorUnknown;
  if (error != cudaSuccess) last_error = error;
  return error;
}

void CheckPointer(const char* name, const void* pointer, size_t bytes = 1) {
  const std::lock_guard<std::mutex> lock(Now().mutex);
  auto place = Now().memory.upper_bound(const_cast<char*>(static_cast<const char*>(pointer)));
  if (place != Now().memory.begin()) {
    --place;
    if (static_cast<const char*>(pointer) + bytes <= place->first + place->second.bytes) {
      if (place->second.device != device) Say("BAD %s: memory of GPU %d", name, place->second.device);
      return;
    }
  }
  Say("BAD %s: %p is not %zu bytes of the GPU's memory", name, pointer, bytes);
}

struct Handle {
  int device, thread;
  cudaStream_t stream;
};

template <typename Opaque>
Handle* Of(const char* name, Opaque opaque) {
  Handle* const handle = reinterpret_cast<Handle*>(opaque);
  if (handle->device != device) Say("BAD %s: handle of GPU %d", name, handle->device);
  if (handle->thread != thread_number) Say("BAD %s: handle of thread %d", name, handle->thread);
  return handle;
}

template <typename Opaque>
void MakeHandle(const char* name, Opaque* opaque) {
  Say("%s", name);  // numbers the thread
  *opaque = reinterpret_cast<Opaque>(new Handle{device, thread_number, nullptr});
}

int (*real_main)(int, char**, char**);
int Main(int count, char** words, char** environment) {
  const int status = real_main(count, words, environment);
  main_has_ended = true;
  Say("main has ended");
  return status;
}

}  // namespace

extern "C" {

int __libc_start_main(int (*main)(int, char**, char**), int count, char** words, void (*init)(),
                      void (*fini)(), void (*end)(), void* stack) {
  real_main = main;
  const auto real = reinterpret_cast<decltype(&__libc_start_main)>(dlsym(RTLD_NEXT, "__libc_start_main"));
  return real(Main, count, words, init, fini, end, stack);
}

void exit(int status) {
  if (!main_has_ended.exchange(true)) Say("main has ended");
  reinterpret_cast<void (*)(int)>(dlsym(RTLD_NEXT, "exit"))(status);
  __builtin_unreachable();
}

// ---- CUDA's runtime

#define RUNTIME(...)                                        \
  do {                                                      \
    const cudaError_t error_of_call = Call(__func__);       \
    Say("%s", __func__);                                    \
    if (error_of_call != cudaSuccess) return error_of_call; \
    __VA_ARGS__;                                            \
    return cudaSuccess;                                     \
  } while (0)

void** __cudaRegisterFatBinary(void*) {
  static void* none;
  return &none;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}  // at exit, as nvcc's own code does in every program
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*,
                            dim3*, int*) {
  const std::lock_guard<std::mutex> lock(Now().mutex);
  Now().kernels[host] = name;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(host));
  return cudaSuccess;
}
thread_local cudaStream_t launch_stream;
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, cudaStream_t stream) {
  launch_stream = stream;
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = *block = dim3(1);
  *shared = 0;
  *static_cast<cudaStream_t*>(stream) = launch_stream;
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  const cudaError_t error = Call("launch");
  std::string name;
  {
    const std::lock_guard<std::mutex> lock(Now().mutex);
    name = Now().kernels[reinterpret_cast<void*>(kernel)];
  }
  Say("launch %s", name.c_str());
  return error;
}
cudaError_t cudaLaunchKernel(const void* host, dim3 grid, dim3 block, void** words, size_t shared,
                             cudaStream_t stream) {
  return __cudaLaunchKernel(reinterpret_cast<cudaKernel_t>(const_cast<void*>(host)), grid, block, words,
                            shared, stream);
}

cudaError_t cudaGetDeviceCount(int* count) {
  Call(__func__, false);
  *count = 0;
  cudaError_t error = cudaSuccess;
  if (kDriver < CUDART_VERSION / 1000 * 1000) error = cudaErrorInsufficientDriver;
  if (kGpus == 0) error = cudaErrorNoDevice;
  if (error == cudaSuccess) *count = kGpus;
  if (error != cudaSuccess) last_error = error;
  return error;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = kDriver;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* which) {
  Call(__func__, false);
  *which = device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int which) {
  if (which < 0 || which >= kGpus) return last_error = cudaErrorInvalidDevice;
  const int before = device;
  device = which;
  const cudaError_t error = Call(__func__);
  Say("%s", __func__);
  if (error != cudaSuccess) device = before;
  return error;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int which) {
  Call(__func__, false);
  if (which < 0 || which >= kGpus) return last_error = cudaErrorInvalidDevice;
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "no GPU at all");
  const char* capability = std::getenv("SHIM_CAPABILITY");
  if (!capability || std::sscanf(capability, "%d.%d", &properties->major, &properties->minor) != 2)
    properties->major = 9;
  properties->totalGlobalMem = kMemory;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int which) {
  Call(__func__, false);
  *value = attribute == cudaDevAttrComputeMode && which == kTaken ? cudaComputeModeExclusiveProcess : 0;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  RUNTIME(std::memset(attributes, 0, sizeof *attributes));
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorUnknown:
      return "unknown error";
    default:
      return "an error of the shim";
  }
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const cudaError_t error = Call(__func__);
  const std::lock_guard<std::mutex> lock(Now().mutex);
  Say("cudaMalloc %zu%s", bytes, Now().used[device] + bytes > kMemory ? " refused" : "");
  if (error != cudaSuccess) return error;
  if (Now().used[device] + bytes > kMemory) return last_error = cudaErrorMemoryAllocation;
  char* const place = static_cast<char*>(std::calloc(bytes ? bytes : 1, 1));
  if (!place) std::abort();
  Now().memory[place] = {bytes, device};
  Now().used[device] += bytes;
  *pointer = place;
  return cudaSuccess;
}
cudaError_t cudaFree(void* pointer) {
  const cudaError_t error = Call(__func__);
  const std::lock_guard<std::mutex> lock(Now().mutex);
  Say("cudaFree %zu", pointer && Now().memory.count(static_cast<char*>(pointer))
                          ? Now().memory[static_cast<char*>(pointer)].bytes
                          : 0);
  if (error != cudaSuccess || !pointer) return error;
  const auto place = Now().memory.find(static_cast<char*>(pointer));
  if (place == Now().memory.end()) {
    Say("BAD cudaFree: %p was not allocated", pointer);
    return last_error = cudaErrorInvalidValue;
  }
  Now().used[place->second.device] -= place->second.bytes;
  std::free(pointer);
  Now().memory.erase(place);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const cudaError_t error = Call(__func__);
  const std::lock_guard<std::mutex> lock(Now().mutex);
  *total = kMemory;
  *free = kMemory - Now().used[device];
  return error;
}
cudaError_t cudaInitDevice(int which, unsigned, unsigned) {
  const int before = device;
  device = which;
  const cudaError_t error = Call(__func__);
  device = before;
  return error;
}
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  RUNTIME(*pointer = std::calloc(bytes ? bytes : 1, 1));
}
cudaError_t cudaFreeHost(void* pointer) { RUNTIME(std::free(pointer)); }
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  RUNTIME(std::memcpy(to, from, bytes));
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  RUNTIME(std::memcpy(to, from, bytes));
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  CheckPointer(__func__, to, bytes);
  RUNTIME(std::memset(to, value, bytes));
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  RUNTIME(*stream = reinterpret_cast<cudaStream_t>(new char));
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  RUNTIME(*stream = reinterpret_cast<cudaStream_t>(new char));
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { RUNTIME(delete reinterpret_cast<char*>(stream)); }
cudaError_t cudaStreamSynchronize(cudaStream_t) { RUNTIME(); }
cudaError_t cudaDeviceSynchronize() { RUNTIME(); }
cudaError_t cudaEventCreate(cudaEvent_t* event) { RUNTIME(*event = reinterpret_cast<cudaEvent_t>(new char)); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { RUNTIME(delete reinterpret_cast<char*>(event)); }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { RUNTIME(); }
cudaError_t cudaEventSynchronize(cudaEvent_t) { RUNTIME(); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  RUNTIME(*milliseconds = 1);
}

// ---- cuBLAS

#define BLAS(handle, ...)                                                     \
  do {                                                                        \
    if (Call(__func__) != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED; \
    Say("%s", __func__);                                                      \
    Of(__func__, handle);                                                     \
    __VA_ARGS__;                                                              \
    return CUBLAS_STATUS_SUCCESS;                                             \
  } while (0)

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (Call(__func__) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  MakeHandle(__func__, handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  BLAS(handle, delete reinterpret_cast<Handle*>(handle));
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  Say("cublasSetMathMode mode=%d", mode);
  Of(__func__, handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  BLAS(handle, reinterpret_cast<Handle*>(handle)->stream = stream);
}
cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  BLAS(handle, *stream = reinterpret_cast<Handle*>(handle)->stream);
}
#define OF_BOTH(real, S)                                                                                   \
  cublasStatus_t cublas##S##gemm_v2(cublasHandle_t handle, cublasOperation_t, cublasOperation_t, int, int, \
                                    int, const real*, const real* a, int, const real* b, int, const real*, \
                                    real* c, int) {                                                        \
    BLAS(handle, CheckPointer(__func__, a); CheckPointer(__func__, b); CheckPointer(__func__, c));         \
  }                                                                                                        \
  cublasStatus_t cublas##S##gemv_v2(cublasHandle_t handle, cublasOperation_t, int, int, const real*,       \
                                    const real* a, int, const real* x, int, const real*, real* y, int) {   \
    BLAS(handle, CheckPointer(__func__, a); CheckPointer(__func__, x); CheckPointer(__func__, y));         \
  }                                                                                                        \
  cublasStatus_t cublas##S##axpy_v2(cublasHandle_t handle, int, const real*, const real* x, int, real* y,  \
                                    int) {                                                                 \
    BLAS(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));                                    \
  }                                                                                                        \
  cublasStatus_t cublas##S##copy_v2(cublasHandle_t handle, int, const real* x, int, real* y, int) {        \
    BLAS(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));                                    \
  }                                                                                                        \
  cublasStatus_t cublas##S##scal_v2(cublasHandle_t handle, int, const real*, real* x, int) {               \
    BLAS(handle, CheckPointer(__func__, x));                                                               \
  }                                                                                                        \
  cublasStatus_t cublas##S##dot_v2(cublasHandle_t handle, int, const real* x, int, const real* y, int,     \
                                   real* sum) {                                                            \
    BLAS(handle, CheckPointer(__func__, x); CheckPointer(__func__, y); *sum = 1);                          \
  }                                                                                                        \
  cublasStatus_t cublas##S##asum_v2(cublasHandle_t handle, int, const real* x, int, real* sum) {           \
    BLAS(handle, CheckPointer(__func__, x); *sum = 1);                                                     \
  }
OF_BOTH(float, S)
OF_BOTH(double, D)

// ---- cuRAND

#define RANDOM(handle, ...)                                                 \
  do {                                                                      \
    if (Call(__func__) != cudaSuccess) return CURAND_STATUS_LAUNCH_FAILURE; \
    Say("%s", __func__);                                                    \
    Of(__func__, handle);                                                   \
    __VA_ARGS__;                                                            \
    return CURAND_STATUS_SUCCESS;                                           \
  } while (0)

curandStatus_t curandCreateGenerator(curandGenerator_t* handle, curandRngType_t) {
  if (Call(__func__) != cudaSuccess) return CURAND_STATUS_INITIALIZATION_FAILED;
  MakeHandle(__func__, handle);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t handle) {
  RANDOM(handle, delete reinterpret_cast<Handle*>(handle));
}
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t handle, unsigned long long seed) {
  RANDOM(handle, Say("seed %llu", seed));
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t handle, unsigned long long) { RANDOM(handle); }
curandStatus_t curandGenerate(curandGenerator_t handle, unsigned* to, size_t) {
  RANDOM(handle, CheckPointer(__func__, to));
}
curandStatus_t curandGenerateUniform(curandGenerator_t handle, float* to, size_t) {
  RANDOM(handle, CheckPointer(__func__, to));
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t handle, double* to, size_t) {
  RANDOM(handle, CheckPointer(__func__, to));
}
curandStatus_t curandGenerateNormal(curandGenerator_t handle, float* to, size_t, float, float) {
  RANDOM(handle, CheckPointer(__func__, to));
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t handle, double* to, size_t, double, double) {
  RANDOM(handle, CheckPointer(__func__, to));
}

// ---- cuDNN. Descriptors are memory of the host, which no context is needed for.

struct cudnnConvolutionStruct {
  cudnnMathType_t arithmetic;
};

#define DNN(handle, ...)                                                                             \
  do {                                                                                               \
    if (Call(__func__) != cudaSuccess) return CUDNN_STATUS_EXECUTION_FAILED;                         \
    Handle* const of = Of(__func__, handle);                                                         \
    Say("%s handle=%p stream=%p", __func__, static_cast<void*>(of), static_cast<void*>(of->stream)); \
    __VA_ARGS__;                                                                                     \
    return CUDNN_STATUS_SUCCESS;                                                                     \
  } while (0)
#define DESCRIPTOR(Name, Type)                                                     \
  cudnnStatus_t cudnnCreate##Name(Type* one) {                                     \
    *one = reinterpret_cast<Type>(new cudnnConvolutionStruct{CUDNN_DEFAULT_MATH}); \
    Call(__func__, false);                                                         \
    return CUDNN_STATUS_SUCCESS;                                                   \
  }                                                                                \
  cudnnStatus_t cudnnDestroy##Name(Type one) {                                     \
    delete reinterpret_cast<cudnnConvolutionStruct*>(one);                         \
    Call(__func__, false);                                                         \
    return CUDNN_STATUS_SUCCESS;                                                   \
  }

const char* cudnnGetErrorString(cudnnStatus_t) { return "an error of the shim"; }
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (Call(__func__) != cudaSuccess) return CUDNN_STATUS_NOT_INITIALIZED;
  MakeHandle(__func__, handle);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  if (Call(__func__) != cudaSuccess) return CUDNN_STATUS_EXECUTION_FAILED;
  Say("cudnnDestroy");
  delete reinterpret_cast<Handle*>(handle);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { DNN(handle, of->stream = stream); }
DESCRIPTOR(TensorDescriptor, cudnnTensorDescriptor_t)
DESCRIPTOR(FilterDescriptor, cudnnFilterDescriptor_t)
DESCRIPTOR(ConvolutionDescriptor, cudnnConvolutionDescriptor_t)
DESCRIPTOR(ActivationDescriptor, cudnnActivationDescriptor_t)
DESCRIPTOR(PoolingDescriptor, cudnnPoolingDescriptor_t)
DESCRIPTOR(LRNDescriptor, cudnnLRNDescriptor_t)
cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t, cudnnDataType_t, int n, int c, int h,
                                           int w, int, int, int, int) {
  if (n < 1 || c < 1 || h < 1 || w < 1) return CUDNN_STATUS_BAD_PARAM;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t, cudnnDataType_t, cudnnTensorFormat_t, int,
                                         int, int, int) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t, int, int, int, int, int, int,
                                              cudnnConvolutionMode_t, cudnnDataType_t) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t one, cudnnMathType_t arithmetic) {
  one->arithmetic = arithmetic;
  Say("cudnnSetConvolutionMathType math=%d", arithmetic);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionMathType(cudnnConvolutionDescriptor_t one, cudnnMathType_t* arithmetic) {
  *arithmetic = one->arithmetic;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetActivationDescriptor(cudnnActivationDescriptor_t, cudnnActivationMode_t,
                                           cudnnNanPropagation_t, double) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetPooling2dDescriptor(cudnnPoolingDescriptor_t, cudnnPoolingMode_t, cudnnNanPropagation_t,
                                          int, int, int, int, int, int) {
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetLRNDescriptor(cudnnLRNDescriptor_t, unsigned, double, double, double) {
  return CUDNN_STATUS_SUCCESS;
}

// Five algorithms a pass, fastest first: one for TF32 alone, one that can't be had, one that takes 300 MiB,
// one that takes 40, and the one that takes none.
struct Candidate {
  int forward, data, filter;
  cudnnStatus_t status;
  cudnnMathType_t arithmetic;
  size_t bytes;
};
const Candidate kCandidates[] = {
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
     CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, CUDNN_STATUS_SUCCESS, CUDNN_DEFAULT_MATH, 1 << 20},
    {CUDNN_CONVOLUTION_FWD_ALGO_FFT, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
     CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, CUDNN_STATUS_NOT_SUPPORTED, CUDNN_FMA_MATH, 0},
    {CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD_NONFUSED,
     CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED, CUDNN_STATUS_SUCCESS, CUDNN_FMA_MATH, 300 << 20},
    {CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD,
     CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_STATUS_SUCCESS, CUDNN_FMA_MATH, 40 << 20},
    {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0,
     CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_STATUS_SUCCESS, CUDNN_FMA_MATH, 0},
};

#define PASS(Pass, Kind, member, X, Y, Z)                                                                    \
  cudnnStatus_t cudnnGetConvolution##Pass##Algorithm_v7(                                                     \
      cudnnHandle_t handle, X, Y, cudnnConvolutionDescriptor_t, Z, int most, int* count,                     \
      cudnnConvolution##Kind##AlgoPerf_t* found) {                                                           \
    DNN(                                                                                                     \
        handle, *count = 0; for (const Candidate& one : kCandidates) {                                       \
          if (*count == most) break;                                                                         \
          found[*count] = {};                                                                                \
          found[*count].algo = static_cast<cudnnConvolution##Kind##Algo_t>(one.member);                      \
          found[*count].status = one.status;                                                                 \
          found[*count].mathType = one.arithmetic;                                                           \
          found[(*count)++].memory = one.bytes;                                                              \
        });                                                                                                  \
  }                                                                                                          \
  cudnnStatus_t cudnnGetConvolution##Pass##WorkspaceSize(                                                    \
      cudnnHandle_t handle, X, Y, cudnnConvolutionDescriptor_t, Z, cudnnConvolution##Kind##Algo_t algorithm, \
      size_t* bytes) {                                                                                       \
    *bytes = 0;                                                                                              \
    DNN(                                                                                                     \
        handle, for (const Candidate& one : kCandidates) if (one.member == algorithm) {                      \
          *bytes = one.bytes;                                                                                \
          return one.status;                                                                                 \
        });                                                                                                  \
  }
PASS(Forward, Fwd, forward, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t)
PASS(BackwardData, BwdData, data, cudnnFilterDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t)
PASS(BackwardFilter, BwdFilter, filter, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t,
     cudnnFilterDescriptor_t)

void Convolve(const char* name, const void* a, const void* b, const void* c, int algorithm, size_t needed,
              const void* workspace, size_t bytes, cudnnConvolutionDescriptor_t how) {
  for (const void* one : {a, b, c}) CheckPointer(name, one);
  if (bytes) CheckPointer(name, workspace, bytes);
  if (bytes < needed)
    Say("BAD %s: %zu bytes of workspace for an algorithm that takes %zu", name, bytes, needed);
  Say("%s algorithm=%d workspace=%p bytes=%zu math=%d", name, algorithm, workspace, bytes, how->arithmetic);
}
size_t Needed(int Candidate::* member, int algorithm) {
  for (const Candidate& one : kCandidates)
    if (one.*member == algorithm) return one.bytes;
  return 0;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t,
                                      const void* x, cudnnFilterDescriptor_t, const void* w,
                                      cudnnConvolutionDescriptor_t how, cudnnConvolutionFwdAlgo_t algorithm,
                                      void* workspace, size_t bytes, const void*, cudnnTensorDescriptor_t,
                                      void* y) {
  DNN(handle, Convolve("convolve-forward", x, w, y, algorithm, Needed(&Candidate::forward, algorithm),
                       workspace, bytes, how));
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void*, cudnnFilterDescriptor_t,
                                           const void* w, cudnnTensorDescriptor_t, const void* dy,
                                           cudnnConvolutionDescriptor_t how,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void* workspace,
                                           size_t bytes, const void*, cudnnTensorDescriptor_t, void* dx) {
  DNN(handle, Convolve("convolve-data", w, dy, dx, algorithm, Needed(&Candidate::data, algorithm), workspace,
                       bytes, how));
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t,
                                             const void* x, cudnnTensorDescriptor_t, const void* dy,
                                             cudnnConvolutionDescriptor_t how,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void* workspace,
                                             size_t bytes, const void*, cudnnFilterDescriptor_t, void* dw) {
  DNN(handle, Convolve("convolve-filter", x, dy, dw, algorithm, Needed(&Candidate::filter, algorithm),
                       workspace, bytes, how));
}
cudnnStatus_t cudnnConvolutionBackwardBias(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t,
                                           const void* dy, const void*, cudnnTensorDescriptor_t, void* db) {
  DNN(handle, CheckPointer(__func__, dy); CheckPointer(__func__, db));
}
cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t, const void* a,
                             const void*, cudnnTensorDescriptor_t, void* c) {
  DNN(handle, CheckPointer(__func__, a); CheckPointer(__func__, c));
}
cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t, const void*,
                                     cudnnTensorDescriptor_t, const void* x, const void*,
                                     cudnnTensorDescriptor_t, void* y) {
  DNN(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));
}
cudnnStatus_t cudnnActivationBackward(cudnnHandle_t handle, cudnnActivationDescriptor_t, const void*,
                                      cudnnTensorDescriptor_t, const void* y, cudnnTensorDescriptor_t,
                                      const void* dy, cudnnTensorDescriptor_t, const void* x, const void*,
                                      cudnnTensorDescriptor_t, void* dx) {
  DNN(handle, for (const void* one : {y, dy, x, static_cast<const void*>(dx)}) CheckPointer(__func__, one));
}
cudnnStatus_t cudnnSoftmaxForward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t, cudnnSoftmaxMode_t,
                                  const void*, cudnnTensorDescriptor_t, const void* x, const void*,
                                  cudnnTensorDescriptor_t, void* y) {
  DNN(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));
}
cudnnStatus_t cudnnSoftmaxBackward(cudnnHandle_t handle, cudnnSoftmaxAlgorithm_t, cudnnSoftmaxMode_t,
                                   const void*, cudnnTensorDescriptor_t, const void*, cudnnTensorDescriptor_t,
                                   const void*, const void*, cudnnTensorDescriptor_t, void* dx) {
  DNN(handle, CheckPointer(__func__, dx));
}
cudnnStatus_t cudnnPoolingForward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t, const void*,
                                  const cudnnTensorDescriptor_t, const void* x, const void*,
                                  const cudnnTensorDescriptor_t, void* y) {
  DNN(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));
}
cudnnStatus_t cudnnPoolingBackward(cudnnHandle_t handle, const cudnnPoolingDescriptor_t, const void*,
                                   const cudnnTensorDescriptor_t, const void* y,
                                   const cudnnTensorDescriptor_t, const void* dy,
                                   const cudnnTensorDescriptor_t, const void* x, const void*,
                                   const cudnnTensorDescriptor_t, void* dx) {
  DNN(handle, for (const void* one : {y, dy, x, static_cast<const void*>(dx)}) CheckPointer(__func__, one));
}
cudnnStatus_t cudnnLRNCrossChannelForward(cudnnHandle_t handle, cudnnLRNDescriptor_t, cudnnLRNMode_t,
                                          const void*, const cudnnTensorDescriptor_t, const void* x,
                                          const void*, const cudnnTensorDescriptor_t, void* y) {
  DNN(handle, CheckPointer(__func__, x); CheckPointer(__func__, y));
}
cudnnStatus_t cudnnLRNCrossChannelBackward(cudnnHandle_t handle, cudnnLRNDescriptor_t, cudnnLRNMode_t,
                                           const void*, const cudnnTensorDescriptor_t, const void*,
                                           const cudnnTensorDescriptor_t, const void*,
                                           const cudnnTensorDescriptor_t, const void*, const void*,
                                           const cudnnTensorDescriptor_t, void* dx) {
  DNN(handle, CheckPointer(__func__, dx));
}

cudnnStatus_t cudnnDivisiveNormalizationForward(cudnnHandle_t handle, cudnnLRNDescriptor_t,
                                                cudnnDivNormMode_t, const void*,
                                                const cudnnTensorDescriptor_t, const void* x, const void*,
                                                void* one, void* two, const void*,
                                                const cudnnTensorDescriptor_t, void* y) {
  DNN(handle, for (const void* each : {x, static_cast<const void*>(one), static_cast<const void*>(two),
                                       static_cast<const void*>(y)}) CheckPointer(__func__, each));
}
cudnnStatus_t cudnnDivisiveNormalizationBackward(cudnnHandle_t handle, cudnnLRNDescriptor_t,
                                                 cudnnDivNormMode_t, const void*,
                                                 const cudnnTensorDescriptor_t, const void*, const void*,
                                                 const void* dy, void*, void*, const void*,
                                                 const cudnnTensorDescriptor_t, void* dx, void*) {
  DNN(handle, CheckPointer(__func__, dy); CheckPointer(__func__, dx));
}

// ---- NCCL

#define REDUCE(communicator, ...)                                                          \
  do {                                                                                     \
    if (Call(__func__) != cudaSuccess) return ncclUnhandledCudaError;                      \
    Say("%s", __func__);                                                                   \
    Handle* const of = reinterpret_cast<Handle*>(communicator);                            \
    if (of->device != device) Say("BAD %s: communicator of GPU %d", __func__, of->device); \
    if (Number("SHIM_HANG", 0))                                                            \
      for (;;) sleep(1);                                                                   \
    __VA_ARGS__;                                                                           \
    return ncclSuccess;                                                                    \
  } while (0)

const char* ncclGetErrorString(ncclResult_t) { return "an error of the shim"; }
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 0, sizeof *id);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* communicator, int, ncclUniqueId, int) {
  *communicator = reinterpret_cast<ncclComm_t>(new Handle{device, thread_number, nullptr});
  return ncclSuccess;
}
ncclResult_t ncclCommInitAll(ncclComm_t* communicators, int count, const int* devices) {
  Say("ncclCommInitAll %d", count);
  for (int i = 0; i < count; ++i)
    communicators[i] = reinterpret_cast<ncclComm_t>(new Handle{devices[i], thread_number, nullptr});
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  delete reinterpret_cast<Handle*>(communicator);
  return ncclSuccess;
}
ncclResult_t ncclBcast(void* data, size_t, ncclDataType_t, int, ncclComm_t communicator, cudaStream_t) {
  REDUCE(communicator, CheckPointer(__func__, data));
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t, ncclDataType_t, ncclRedOp_t,
                           ncclComm_t communicator, cudaStream_t) {
  REDUCE(communicator, CheckPointer(__func__, from); CheckPointer(__func__, to));
}

}  // extern "C"
