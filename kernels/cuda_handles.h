// Owners of what the CUDA runtime hands out, and the check of its answers. For sources that are built with nvcc's
// headers only.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>

#include "core/error.h"

namespace espalier::kernels::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw core::Error(core::ErrorKind::check_failed,
                    fmt::format("CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status)));
}

struct Release {
  void operator()(void* p) const { cudaFree(p); }
  void operator()(cudaEvent_t e) const { cudaEventDestroy(e); }
  void operator()(cudaStream_t s) const { cudaStreamDestroy(s); }
  void operator()(cudaGraph_t g) const { cudaGraphDestroy(g); }
  void operator()(cudaGraphExec_t g) const { cudaGraphExecDestroy(g); }
};
using Buffer = std::unique_ptr<void, Release>;
using Event = std::unique_ptr<CUevent_st, Release>;
using Stream = std::unique_ptr<CUstream_st, Release>;
using Graph = std::unique_ptr<CUgraph_st, Release>;
using RunnableGraph = std::unique_ptr<CUgraphExec_st, Release>;

inline Buffer allocate(std::size_t bytes) {
  void* p = nullptr;
  check(cudaMalloc(&p, std::max<std::size_t>(bytes, 1)), "allocating device memory");
  return Buffer(p);
}
inline Event make_event() {
  cudaEvent_t e = nullptr;
  check(cudaEventCreate(&e), "making an event");
  return Event(e);
}
inline Stream make_stream() {
  cudaStream_t s = nullptr;
  check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "making a stream");
  return Stream(s);
}

/// Until what was copied and set is there. Copies and sets run on the default stream, for which the streams made here
/// don't wait.
inline void settle() { check(cudaDeviceSynchronize(), "filling device memory"); }

/// The calling thread's device, if it can run our kernels. Throws Error: no device; check failed for one that is too
/// old. `who` begins the sentence, `instead` may end it.
inline cudaDeviceProp current_device(const char* who, const std::string& instead = "") {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw core::Error(core::ErrorKind::no_device,
                      fmt::format("{}: no CUDA device on this machine ({}){}{}", who,
                                  status == cudaSuccess ? "none found" : cudaGetErrorString(status),
                                  instead.empty() ? "" : "; ", instead));
  }
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "asking for the device's properties");
  if (properties.major < 8) {
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("{}: {} is of compute capability {}.{}, the kernels need 8.0", who, properties.name,
                                  properties.major, properties.minor));
  }
  return properties;
}

/// The first device, made the current one: what the command runs on. Throws as current_device().
inline cudaDeviceProp first_device(const char* who, const std::string& instead = "") {
  cudaSetDevice(0);  // an error, as where there is none, is current_device()'s to tell
  return current_device(who, instead);
}

}  // namespace espalier::kernels::cuda
