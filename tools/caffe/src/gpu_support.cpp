#include "gpu_support.hpp"

#include <glog/logging.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace caffe {

namespace {

[[maybe_unused]] std::string Environment(const char* name, const char* otherwise) {  // in a CUDA build
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.size() < 7 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

std::vector<int> AllGpus();  // that there are, whether or not they can be used

std::vector<int> ParseGpus(const std::string& list) {
  std::vector<int> devices;
  std::istringstream items(list + ",");
  for (std::string item; std::getline(items, item, ',');) {
    if (!IsNumber(item)) throw std::invalid_argument("a list of GPUs is numbers such as 0,1, not " + list);
    devices.push_back(std::atoi(item.c_str()));
  }
  return devices;
}

bool HoldsCodeFor(const std::string& architectures, int major, int minor) {
  std::istringstream list(architectures);
  for (std::string one; std::getline(list, one, ',');) {
    const int number = std::atoi(one.c_str());
    if (one.find("-virtual") != std::string::npos ? number <= 10 * major + minor
                                                  : number / 10 == major && number % 10 <= minor)
      return true;
  }
  return false;
}

void RequireGpus(const std::string& flag) {
  if (flag.empty()) return;
  std::string problem;
  try {
    problem = GpuProblem(flag == "all" ? AllGpus() : ParseGpus(flag));
  } catch (const std::invalid_argument& error) {
    problem = error.what();
  }
  if (problem.empty()) return;
  std::fprintf(stderr, "caffe: -gpu %s: %s\n", flag.c_str(), problem.c_str());
  std::exit(1);
}

void RequireGpu(int device) {
  const std::string problem = GpuProblem(device < 0 ? std::vector<int>() : std::vector<int>{device});
  if (!problem.empty()) throw std::invalid_argument(problem);
}

#ifdef CPU_ONLY

std::string GpuProblem(const std::vector<int>&) {
  return "this Caffe was built without CUDA (tools/setup.sh --cuda builds it with)";
}

std::vector<int> AllGpus() { return {}; }

std::vector<int> UsableGpus() { return {}; }

#else

namespace {

const char* const kDriverNeeded =
    CUDART_VERSION >= 13000 ? "NVIDIA's driver 580 or later" : "NVIDIA's driver 525 or later";

std::string Version(int cuda) { return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10); }

std::string DriverProblem(cudaError_t error) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  const std::string built = "this Caffe (CUDA " + Version(CUDART_VERSION) + ") needs " + kDriverNeeded;
  if (driver == 0) return "no driver is in reach; " + built + ", and a container needs --gpus all";
  if (error == cudaErrorInsufficientDriver)
    return "the driver is too old, it goes up to CUDA " + Version(driver) + "; " + built;
  return std::string("CUDA finds no GPU (") + cudaGetErrorString(error) + ")";
}

std::string SettingsProblem() {
  const std::string tf32 = Environment("CAFFE_TF32", "0");
  if (tf32 != "0" && tf32 != "1") return "CAFFE_TF32 is 0 or 1, not " + tf32;
  const std::string log = Environment("CAFFE_CUDNN_LOG", "0");
  if (log != "0" && log != "1") return "CAFFE_CUDNN_LOG is 0 or 1, not " + log;
  const std::string limit = Environment("CAFFE_CUDNN_WORKSPACE_MB", "0");
  if (!IsNumber(limit)) return "CAFFE_CUDNN_WORKSPACE_MB is a number of MiB, not " + limit;
  return "";
}

// What can be said without a context on the device, which would take half a GB of its memory.
std::string DeviceProblem(int device, int count) {
  const std::string name = "GPU " + std::to_string(device);
  if (device >= count)
    return "there is no " + name + ": this machine has " + std::to_string(count) + ", counted from 0";
  int mode = 0;
  cudaDeviceProp properties;
  cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, device);
  cudaGetLastError();
  if (error != cudaSuccess) return name + " can't be used (" + cudaGetErrorString(error) + ")";
  if (mode == cudaComputeModeProhibited) return name + " can't be used (nvidia-smi -c has prohibited it)";
  if (HoldsCodeFor(CAFFE_CUDA_ARCH, properties.major, properties.minor)) return "";
  return "this Caffe holds no code for " + name + " (" + properties.name + ", compute capability " +
         std::to_string(properties.major) + "." + std::to_string(properties.minor) +
         "), only for " CAFFE_CUDA_ARCH;
}

// Whether a program can have the device is known once it has it.
std::string OpeningProblem(int device) {
  cudaError_t error = cudaSetDevice(device);
  if (error == cudaSuccess)
    error = cudaFree(nullptr);  // makes the context: cudaSetDevice alone does not always
  cudaGetLastError();
  if (error == cudaSuccess) return "";
  const std::string name = "GPU " + std::to_string(device);
  if (error == cudaErrorDevicesUnavailable || error == cudaErrorDeviceAlreadyInUse)
    return name + " is in use, and the process that uses it has it to itself (nvidia-smi tells which)";
  if (error == cudaErrorMemoryAllocation) return name + " has no memory left (nvidia-smi tells who holds it)";
  return name + " can't be used (" + cudaGetErrorString(error) + ")";
}

int GpuCount(cudaError_t* error) {
  int count = 0;
  *error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  return *error == cudaSuccess ? count : 0;
}

bool Tf32() {
  static const bool on = [] {
    const bool asked = Environment("CAFFE_TF32", "0") == "1";
    LOG(INFO) << (asked ? "TF32 is on (CAFFE_TF32=1): faster on Ampere and later, 10 bits of mantissa"
                        : "TF32 is off: FP32 as in the article; CAFFE_TF32=1 is faster on Ampere and later");
    return asked;
  }();
  return on;
}

}  // namespace

std::string GpuProblem(const std::vector<int>& devices) {
  cudaError_t error;
  const int count = GpuCount(&error);
  if (count == 0) return DriverProblem(error);
  std::string problem = SettingsProblem();
  for (size_t i = 0; i < devices.size() && problem.empty(); ++i) problem = DeviceProblem(devices[i], count);
  for (size_t i = 0; i < devices.size() && problem.empty(); ++i) problem = OpeningProblem(devices[i]);
  for (int device = 0; devices.empty() && device < count; ++device) {
    const std::string why = DeviceProblem(device, count);
    if (why.empty()) return problem;
    if (problem.empty()) problem = why;
  }
  return problem;
}

std::vector<int> AllGpus() {
  cudaError_t error;
  std::vector<int> all(GpuCount(&error));
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

std::vector<int> UsableGpus() {
  cudaError_t error;
  std::vector<int> usable;
  const int count = GpuCount(&error);
  for (int device = 0; device < count; ++device)
    if (DeviceProblem(device, count).empty()) usable.push_back(device);
  return usable;
}

bool HaveGpu() {
  static const bool have = [] {
    cudaError_t error;
    if (GpuCount(&error) > 0) return true;
    LOG(WARNING) << "Running on the CPU: " << DriverProblem(error);
    return false;
  }();
  return have;
}

int DeviceAttribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

void SetArithmetic(cublasHandle_t handle) {
  CHECK_EQ(cublasSetMathMode(handle, Tf32() ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH),
           CUBLAS_STATUS_SUCCESS);
}

#ifdef USE_CUDNN
cudnnMathType_t ConvolutionArithmetic() { return Tf32() ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH; }
#endif

size_t CudnnWorkspaceLimit() {
  static const size_t limit =
      std::strtoull(Environment("CAFFE_CUDNN_WORKSPACE_MB", "256").c_str(), nullptr, 10);
  return limit << 20;
}

bool CudnnLog() { return Environment("CAFFE_CUDNN_LOG", "0") == "1"; }

#endif  // CPU_ONLY

}  // namespace caffe
