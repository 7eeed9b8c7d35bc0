// Events, a flush of the cache, and a kernel that waits: probes of calibration read and wait here, too.
#include "kernels/cuda_timing.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "core/text.h"
#include "kernels/cuda/probes/probe.h"

namespace espalier::kernels::cuda {
namespace {

constexpr std::size_t kDirtyTimes = 3, kCleanTimes = 2;  // of the cache
constexpr std::int64_t kBusyNs = 100'000;                // a graph is handed over in 10 to 20 us
constexpr unsigned kReadThreads = 256, kReadLoads = 8, kReadBlocks = 1024;

ProbeInstance probe(std::span<const ProbeInstance> list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const ProbeInstance& p) { return p.name == name; });
  ESPALIER_CHECK(found != list.end());
  return *found;
}

void launch(const ProbeInstance& kernel, ProbeParams params, unsigned blocks, unsigned threads, cudaStream_t stream) {
  void* arguments[] = {&params};
  check(
      cudaLaunchKernel(reinterpret_cast<const void*>(kernel.kernel), dim3(blocks), dim3(threads), arguments, 0, stream),
      "a launch between times");
}

}  // namespace

RunnableGraph make_graph(cudaStream_t stream, const std::function<void()>& launches) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning a capture");
  cudaGraph_t captured = nullptr;
  try {
    launches();
  } catch (...) {
    cudaStreamEndCapture(stream, &captured);
    throw;
  }
  check(cudaStreamEndCapture(stream, &captured), "ending a capture");
  const Graph owner(captured);
  cudaGraphExec_t instance = nullptr;
  check(cudaGraphInstantiate(&instance, captured, 0), "making a graph of the launches");
  RunnableGraph graph(instance);
  check(cudaGraphUpload(graph.get(), stream), "placing a graph on the device");
  check(cudaStreamSynchronize(stream), "placing a graph on the device");
  return graph;
}

std::size_t Stopwatch::bytes(const cudaDeviceProp& device) {
  return (kDirtyTimes + kCleanTimes) * static_cast<std::size_t>(device.l2CacheSize);
}

Stopwatch::Stopwatch(cudaStream_t stream, const cudaDeviceProp& device)
    : stream_(stream), l2_bytes_(static_cast<std::size_t>(device.l2CacheSize)),
      dirty_(allocate(kDirtyTimes * l2_bytes_)), clean_(allocate(kCleanTimes * l2_bytes_)) {
  check(cudaMemsetAsync(clean_.get(), 0, kCleanTimes * l2_bytes_, stream_), "clearing memory");
}

void Stopwatch::flush() {
  check(cudaMemsetAsync(dirty_.get(), turn_++ & 0xFF, kDirtyTimes * l2_bytes_, stream_), "overwriting the L2 cache");
  constexpr std::size_t kTileBytes = std::size_t{kReadThreads} * kReadLoads * sizeof(Chunk);
  ProbeParams params;
  params.source = static_cast<const Chunk*>(clean_.get());
  params.shape.tiles = std::max<std::int64_t>(1, static_cast<std::int64_t>(kCleanTimes * l2_bytes_ / kTileBytes));
  params.shape.threads = static_cast<std::int32_t>(kReadThreads);
  params.shape.rounds = (params.shape.tiles + kReadBlocks - 1) / kReadBlocks;
  launch(probe(on_cuda::stream_probes(), "probe_stream_8"), params, kReadBlocks, kReadThreads, stream_);
}

void Stopwatch::keep_busy() {
  ProbeParams params;
  params.shape.rounds = kBusyNs;
  launch(probe(on_cuda::clock_probes(), "probe_unequal"), params, 1, 32, stream_);
}

double Stopwatch::microseconds(Before before, const std::function<void()>& work) {
  if (before == Before::flush) flush();
  if (before == Before::wait) keep_busy();
  check(cudaEventRecord(begin_.get(), stream_), "recording an event");
  work();
  check(cudaEventRecord(end_.get(), stream_), "recording an event");
  check(cudaEventSynchronize(end_.get()), "running what is timed");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "reading an event");
  return static_cast<double>(ms) * 1e3;
}

std::string Stopwatch::describe(const cudaDeviceProp& device, Before before) {
  if (before == Before::nothing) return "warm L2";
  if (before == Before::wait) return fmt::format("warm L2, {} us of waiting before each run", kBusyNs / 1000);
  const std::int64_t l2 = device.l2CacheSize;
  return fmt::format("cold L2: {} overwritten and {} read before each run",
                     core::bytes_text(static_cast<std::int64_t>(kDirtyTimes) * l2),
                     core::bytes_text(static_cast<std::int64_t>(kCleanTimes) * l2));
}

}  // namespace espalier::kernels::cuda
