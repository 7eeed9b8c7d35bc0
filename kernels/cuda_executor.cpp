// CUDA runtime calls, each checked. The kernels themselves are compiled by nvcc; this file needs only the runtime's header.
#include "kernels/cuda_executor.h"

#include <algorithm>
#include <span>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "kernels/cuda_handles.h"
#include "kernels/device_image.h"
#include "kernels/device_tensors.h"
#include "kernels/emulator/numerics.h"
#include "kernels/event_timeline.h"

namespace espalier::kernels {
namespace {

using cuda::check;
using emulator::MemoryKind;
using scheduler::Plan;
using traces::Dtype;

[[noreturn]] void refuse(const std::string& sentence) { throw core::Error(core::ErrorKind::check_failed, "--backend cuda: " + sentence); }

/// Kernels with bulk copies are empty in code for sm_80: what was loaded of one tells.
bool has_bulk_code() {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(on_cuda::attend_bulk().front().kernel)), "asking for a kernel's code");
  return attributes.ptxVersion >= 90;
}

KernelPath path_for(const cudaDeviceProp& device, const std::optional<KernelPath>& asked) {
  const bool possible = device.major >= 9 && has_bulk_code();
  if (asked == KernelPath::bulk && !possible) {
    refuse(fmt::format("no bulk copies on {} with this build (compute capability 9.0 and kernels compiled for sm_90 or up are needed)", device.name));
  }
  if (asked) return *asked;
  return possible && device.major == 9 ? KernelPath::bulk : KernelPath::plain;
}

/// Numbers in (-1, 1), over and over: timing must not see zeros, and needs no more.
void fill_random(void* to, std::size_t bytes, Dtype dtype) {
  const std::size_t chunk = std::min<std::size_t>(bytes, std::size_t{32} << 20);
  const auto size = static_cast<std::size_t>(traces::dtype_bytes(dtype));
  std::vector<std::byte> numbers(chunk);
  core::Rng rng(1);
  for (std::size_t i = 0; i + size <= chunk; i += size) store_number(numbers.data() + i, dtype, static_cast<double>(rng.integer(-255, 255)) / 256.0);
  check(cudaMemcpy(to, numbers.data(), chunk, cudaMemcpyHostToDevice), "filling a tensor");
  // Tens of GiB at the device's own pace.
  for (std::size_t done = chunk; done < bytes; done *= 2) {
    check(cudaMemcpy(static_cast<std::byte*>(to) + done, to, std::min(done, bytes - done), cudaMemcpyDeviceToDevice), "filling a tensor");
  }
}

class Execution {
 public:
  Execution(const Plan& plan, const CudaOptions& options)
      : plan_(plan), options_(options), device_(cuda::first_device("--backend cuda", "use --backend emulate, interpret or host")), lowered_(lower_plan(plan, {cuda_kernels(), static_cast<std::int64_t>(device_.sharedMemPerBlockOptin), path_for(device_, options.path)})) {
    require_fit();
    fill();
    capture();
  }

  CudaRun run() {
    CudaRun result;
    result.device_bytes = bytes_;
    result.measurement = {.device = device_.name, .plan_hash = plan_.hash, .backend = "cuda", .repeats_us = time(), .max_error = 0,
                          .environment = environment(), .timeline = {}};
    if (options_.timeline) result.measurement.timeline = record();
    if (options_.source != nullptr) result.output = read_back();
    return result;
  }

 private:
  /// Every reason to refuse, before anything is allocated or launched.
  void require_fit() {
    bytes_ = device_bytes(plan_, lowered_, options_.row_dtype);
    if (options_.timeline) bytes_ += event_layout(plan_, lowered_).count * static_cast<std::int64_t>(sizeof(EventRecord));
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    flush_bytes_ = options_.cold ? 3 * static_cast<std::size_t>(device_.l2CacheSize) : 0;
    if (static_cast<std::size_t>(bytes_) + flush_bytes_ > free) {
      refuse(fmt::format("the plan needs {} of device memory, {} has {} free", core::bytes_text(bytes_ + static_cast<std::int64_t>(flush_bytes_)),
                         device_.name, core::bytes_text(static_cast<std::int64_t>(free))));
    }
    for (const DeviceLaunch& launch : lowered_.launches) {
      if (launch.attend == nullptr) continue;
      const auto* kernel = reinterpret_cast<const void*>(launch.attend->kernel);
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(launch.attend->shared_bytes)), "asking for shared memory");
      if (!launch.cooperative()) continue;
      int resident = 0;
      check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, static_cast<int>(launch.attend->threads), launch.attend->shared_bytes),
            "asking for the occupancy");
      if (resident * device_.multiProcessorCount < launch.blocks) {
        refuse(fmt::format("{} blocks of {} wait for each other, {} holds {} at once", launch.blocks, launch.attend->name, device_.name,
                           resident * device_.multiProcessorCount));
      }
    }
  }

  void* place(const DevicePiece& piece) {
    buffers_.push_back(cuda::allocate(piece.bytes));
    void* to = buffers_.back().get();
    if (piece.bytes == 0) return to;
    if (piece.from != nullptr) check(cudaMemcpy(to, piece.from, piece.bytes, cudaMemcpyHostToDevice), piece.name);
    else if (piece.kind == MemoryKind::query) fill_random(to, piece.bytes, plan_.heads.q_dtype);
    else if (piece.kind == MemoryKind::kv) fill_random(to, piece.bytes, plan_.heads.kv_dtype);
    else check(cudaMemset(to, piece.zeroed ? 0 : 0xFF, piece.bytes), piece.name);  // NaN until written
    return to;
  }

  void fill() {
    constexpr std::int64_t kMostHostBytes = std::int64_t{16} << 30;
    const DevicePlacer placer = [this](const DevicePiece& piece) { return place(piece); };
    if (options_.source != nullptr) {
      const CacheBytes cache = make_cache(plan_, *options_.source, kMostHostBytes);
      const std::vector<std::byte> queries = make_queries(plan_, *options_.source);
      image_ = place_on_device(plan_, lowered_, {queries.data(), cache.keys.data(), cache.values.data()}, options_.row_dtype, placer);
    } else {
      image_ = place_on_device(plan_, lowered_, {}, options_.row_dtype, placer);
    }
    if (flush_bytes_ > 0) flush_ = cuda::allocate(flush_bytes_);
    cuda::settle();
  }

  template <class Params>
  void launch(void (*kernel)(Params), Params params, const DeviceLaunch& launch, std::uint32_t threads, std::uint32_t shared_bytes) {
    void* arguments[] = {&params};
    const dim3 grid(static_cast<unsigned>(launch.blocks)), block(threads);
    const auto* function = reinterpret_cast<const void*>(kernel);
    if (launch.cooperative()) check(cudaLaunchCooperativeKernel(function, grid, block, arguments, shared_bytes, stream_.get()), "a cooperative launch");
    else check(cudaLaunchKernel(function, grid, block, arguments, shared_bytes, stream_.get()), "a launch");
    check(cudaGetLastError(), "a launch");
  }

  void launch_all() {
    for (std::size_t i = 0; i < lowered_.launches.size(); ++i) {
      const DeviceLaunch& l = lowered_.launches[i];
      if (l.attend != nullptr) launch(l.attend->kernel, attend_params(image_, lowered_, i), l, l.attend->threads, l.attend->shared_bytes);
      else launch(l.reduce->kernel, reduce_params(image_, lowered_, i), l, l.reduce->threads, 0U);
    }
  }

  void capture() {
    check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
    launch_all();
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_.get(), &graph), "ending a capture");
    graph_.reset(graph);
    cudaGraphExec_t runnable = nullptr;
    check(cudaGraphInstantiate(&runnable, graph, 0), "making a graph of the launches");
    runnable_.reset(runnable);
  }

  std::vector<double> time() {
    const cuda::Event begin = cuda::make_event(), end = cuda::make_event();
    std::vector<double> us;
    for (std::int32_t i = -options_.warm_ups; i < options_.repeats; ++i) {
      // The flush also keeps the device busy while the graph is handed over, so that no gap of the host's is timed.
      if (flush_ != nullptr) check(cudaMemsetAsync(flush_.get(), i & 0xFF, flush_bytes_, stream_.get()), "overwriting the L2 cache");
      check(cudaEventRecord(begin.get(), stream_.get()), "recording an event");
      check(cudaGraphLaunch(runnable_.get(), stream_.get()), "launching the graph");
      check(cudaEventRecord(end.get(), stream_.get()), "recording an event");
      check(cudaEventSynchronize(end.get()), "running the plan");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin.get(), end.get()), "reading an event");
      if (i >= 0) us.push_back(static_cast<double>(ms) * 1e3);
    }
    return us;
  }

  /// A run of its own: records cost time.
  scheduler::Timeline record() {
    place_events(plan_, lowered_, image_, [this](const DevicePiece& piece) { return place(piece); });
    cuda::settle();
    if (flush_ != nullptr) check(cudaMemsetAsync(flush_.get(), 0, flush_bytes_, stream_.get()), "overwriting the L2 cache");
    launch_all();
    check(cudaStreamSynchronize(stream_.get()), "running the plan with its events recorded");
    std::vector<EventRecord> records(static_cast<std::size_t>(image_.event_places.count));
    check(cudaMemcpy(records.data(), image_.events, records.size() * sizeof(EventRecord), cudaMemcpyDeviceToHost), "reading events back");
    return event_timeline(plan_, lowered_, records, device_.name);
  }

  AttentionOutput read_back() const {
    const auto rows = static_cast<std::size_t>(plan_.forest.request_count()) * static_cast<std::size_t>(plan_.heads.q_heads);
    std::vector<std::byte> values(rows * static_cast<std::size_t>(plan_.heads.v_dim * traces::dtype_bytes(options_.row_dtype)));
    std::vector<float> lse(rows);
    check(cudaMemcpy(values.data(), image_.tensors.rows, values.size(), cudaMemcpyDeviceToHost), "reading rows back");
    check(cudaMemcpy(lse.data(), image_.tensors.lse, lse.size() * sizeof(float), cudaMemcpyDeviceToHost), "reading log-sum-exps back");
    return read_rows(plan_, options_.row_dtype, values.data(), lse.data());
  }

  std::vector<std::string> environment() const {
    int driver = 0, runtime = 0, clock_khz = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    check(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0), "asking for the clock");
    const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    return {fmt::format("{}, {} SMs, compute capability {}.{}", device_.name, device_.multiProcessorCount, device_.major, device_.minor),
            fmt::format("at most {} MHz, L2 {}, memory {}", clock_khz / 1000, core::bytes_text(device_.l2CacheSize),
                        core::bytes_text(static_cast<std::int64_t>(device_.totalGlobalMem))),
            fmt::format("CUDA driver {}, runtime {}", version(driver), version(runtime)),
            fmt::format("build {}, compiler {}", ESPALIER_BUILD, __VERSION__),
            fmt::format("{} L2, {} warm-ups, graph of {}", options_.cold ? "cold" : "warm", options_.warm_ups,
                        core::counted(static_cast<std::int64_t>(lowered_.launches.size()), "kernel"))};
  }

  const Plan& plan_;
  const CudaOptions& options_;
  cudaDeviceProp device_;
  DevicePlan lowered_;
  std::int64_t bytes_ = 0;
  std::size_t flush_bytes_ = 0;
  std::vector<cuda::Buffer> buffers_;
  cuda::Buffer flush_;
  DeviceImage image_;
  cuda::Stream stream_ = cuda::make_stream();
  cuda::Graph graph_;
  cuda::RunnableGraph runnable_;
};

}  // namespace

const KernelSet& cuda_kernels() {
  static const KernelSet kernels = [] {
    KernelSet set;
    for (const auto list : {on_cuda::attend_narrow(), on_cuda::attend_standard(), on_cuda::attend_standard_fp16(), on_cuda::attend_standard_fp8(),
                            on_cuda::attend_wide(), on_cuda::attend_latent(), on_cuda::attend_bulk(), on_cuda::products()}) {
      set.attend.insert(set.attend.end(), list.begin(), list.end());
    }
    const auto reduce = on_cuda::reduce_instances();
    set.reduce.assign(reduce.begin(), reduce.end());
    return set;
  }();
  return kernels;
}

CudaRun run_on_cuda(const Plan& plan, const CudaOptions& options) {
  traces::check_heads(plan.heads, "plan: heads");
  return Execution(plan, options).run();
}

}  // namespace espalier::kernels
