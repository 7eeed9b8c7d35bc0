// CUDA runtime calls, each checked. The kernels themselves are compiled by nvcc; this file needs only the runtime's
// header.
#include "kernels/cuda_executor.h"

#include <algorithm>
#include <array>
#include <map>

#include "core/error.h"
#include "core/rng.h"
#include "core/text.h"
#include "kernels/cuda_choice.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_timing.h"
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

[[noreturn]] void refuse(const std::string& sentence) { throw PlanRefused("--backend cuda: " + sentence); }

/// Numbers in (-1, 1) of a type: timing must not see zeros, and needs no more than these over and over.
const std::vector<std::byte>& numbers_of(Dtype dtype) {
  static std::map<Dtype, std::vector<std::byte>> made;
  std::vector<std::byte>& numbers = made[dtype];
  if (!numbers.empty()) return numbers;
  numbers.resize(std::size_t{8} << 20);
  const auto size = static_cast<std::size_t>(traces::dtype_bytes(dtype));
  core::Rng rng(1);
  for (std::size_t i = 0; i < numbers.size(); i += size) {
    store_number(numbers.data() + i, dtype, static_cast<double>(rng.integer(-255, 255)) / 256.0);
  }
  return numbers;
}

void fill_with_numbers(void* to, std::size_t bytes, Dtype dtype) {
  const std::vector<std::byte>& numbers = numbers_of(dtype);
  const std::size_t chunk = std::min(bytes, numbers.size());
  check(cudaMemcpy(to, numbers.data(), chunk, cudaMemcpyHostToDevice), "filling a tensor");
  // Tens of GiB at the device's own pace.
  for (std::size_t done = chunk; done < bytes; done *= 2) {
    check(cudaMemcpy(static_cast<std::byte*>(to) + done, to, std::min(done, bytes - done), cudaMemcpyDeviceToDevice),
          "filling a tensor");
  }
}

/// Tensors of numbers, kept from plan to plan: they only ever grow.
class SharedTensors {
 public:
  void* get(std::size_t index, std::size_t bytes, Dtype dtype) {
    Tensor& tensor = tensors_.at(index);
    if (tensor.bytes >= bytes && tensor.dtype == dtype) return tensor.memory.get();
    release(tensor);
    tensor.memory = cuda::allocate(bytes);
    tensor.bytes = bytes;
    tensor.dtype = dtype;
    fill_with_numbers(tensor.memory.get(), bytes, dtype);
    return tensor.memory.get();
  }
  void release_all() {
    for (Tensor& tensor : tensors_) release(tensor);
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Tensor& tensor : tensors_) sum += tensor.bytes;
    return sum;
  }

 private:
  struct Tensor {
    cuda::Buffer memory;
    std::size_t bytes = 0;
    Dtype dtype = Dtype::fp32;
  };
  static void release(Tensor& tensor) {
    tensor.memory.reset();
    tensor.bytes = 0;
  }
  std::array<Tensor, 3> tensors_;  // queries, then keys and values in the order in which they are placed
};

}  // namespace

/// What outlives a plan.
class CudaRunner::State {
 public:
  State()
      : device(cuda::first_device("--backend cuda", "use --backend emulate, interpret or host")),
        stopwatch(stream.get(), device) {}

  cudaDeviceProp device;
  cuda::Stream stream = cuda::make_stream();
  cuda::Stopwatch stopwatch;
  SharedTensors tensors;
};

namespace {

/// What an execution is lent.
struct Shared {
  const cudaDeviceProp& device;
  cudaStream_t stream;
  cuda::Stopwatch& stopwatch;
  SharedTensors& tensors;
};

class Execution {
 public:
  Execution(const Plan& plan, const CudaOptions& options, Shared shared)
      : plan_(plan), options_(options), device_(shared.device), stream_(shared.stream), stopwatch_(shared.stopwatch),
        tensors_(shared.tensors),
        lowered_(
            lower_plan(plan, cuda::kernels_on(device_, cuda::choose_path(device_, options.path, "--backend cuda")))) {
    require_fit();
    fill();
    graph_ = cuda::make_graph(stream_, [this] { launch_all(); });
  }

  CudaRun run() {
    CudaRun result;
    result.device_bytes = bytes_;
    result.measurement = {.device = device_.name,
                          .plan_hash = plan_.hash,
                          .backend = "cuda",
                          .repeats_us = time(),
                          .max_error = 0,
                          .environment = environment(),
                          .timeline = {}};
    if (options_.timeline) result.measurement.timeline = record();
    if (options_.rows) result.output = read_back();
    result.path = path();
    return result;
  }

 private:
  /// Every reason to refuse, before anything is allocated or launched.
  void require_fit() {
    bytes_ = device_bytes(plan_, lowered_, options_.row_dtype);
    if (options_.timeline) {
      bytes_ += event_layout(plan_, lowered_).count * static_cast<std::int64_t>(sizeof(EventRecord));
    }
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    if (static_cast<std::size_t>(bytes_) > free) {
      free += tensors_.bytes();
      tensors_.release_all();
    }
    for (const DeviceLaunch& launch : lowered_.launches) {
      if (launch.attend == nullptr) continue;
      cuda::allow_shared_memory(*launch.attend);
      if (launch.cluster > 1 && cuda::resident_clusters(cuda::grid_of(launch)) < 1) {
        refuse(fmt::format("clusters of {} blocks of {}: {} holds none", launch.cluster, launch.attend->name,
                           device_.name));
      }
    }
    if (static_cast<std::size_t>(bytes_) > free) {
      refuse(fmt::format("the plan needs {} of device memory, {} has {} free", core::bytes_text(bytes_), device_.name,
                         core::bytes_text(static_cast<std::int64_t>(free))));
    }
  }

  /// What ran, for a report.
  std::string path() const {
    std::string text;
    for (const KernelPath path : {KernelPath::wgmma, KernelPath::bulk, KernelPath::plain}) {
      const bool ran = std::any_of(lowered_.launches.begin(), lowered_.launches.end(), [&](const DeviceLaunch& l) {
        return l.attend != nullptr && l.attend->path == path;
      });
      if (ran) text += fmt::format("{}{}", text.empty() ? "" : "+", kernel_path_name(path));
    }
    const bool clusters = std::any_of(lowered_.launches.begin(), lowered_.launches.end(),
                                      [](const DeviceLaunch& l) { return l.cluster > 1; });
    return clusters ? text + "+clusters" : text;
  }

  void* place(const DevicePiece& piece) {
    const bool numbers = piece.from == nullptr && piece.bytes > 0;
    if (numbers && piece.kind == MemoryKind::query) return tensors_.get(0, piece.bytes, plan_.heads.q_dtype);
    if (numbers && piece.kind == MemoryKind::kv) return tensors_.get(++kv_tensors_, piece.bytes, plan_.heads.kv_dtype);
    buffers_.push_back(cuda::allocate(piece.bytes));
    void* to = buffers_.back().get();
    if (piece.bytes == 0) return to;
    if (piece.from != nullptr) {
      check(cudaMemcpy(to, piece.from, piece.bytes, cudaMemcpyHostToDevice), piece.name);
    } else {
      check(cudaMemset(to, piece.zeroed ? 0 : 0xFF, piece.bytes), piece.name);  // NaN until written
    }
    return to;
  }

  void fill() {
    constexpr std::int64_t kMostHostBytes = std::int64_t{16} << 30;
    const DevicePlacer placer = [this](const DevicePiece& piece) { return place(piece); };
    if (options_.source != nullptr) {
      const CacheBytes cache = make_cache(plan_, *options_.source, kMostHostBytes);
      const std::vector<std::byte> queries = make_queries(plan_, *options_.source);
      image_ = place_on_device(plan_, lowered_, {queries.data(), cache.keys.data(), cache.values.data()},
                               options_.row_dtype, placer);
    } else {
      image_ = place_on_device(plan_, lowered_, {}, options_.row_dtype, placer);
    }
    cuda::settle();
  }

  template <class Params>
  void launch(Params params, const DeviceLaunch& launch) {
    cuda::launch(cuda::grid_of(launch), &params, stream_);
    check(cudaGetLastError(), "a launch");
  }

  void launch_all() {
    for (std::size_t i = 0; i < lowered_.launches.size(); ++i) {
      if (lowered_.launches[i].attend != nullptr) {
        launch(attend_params(image_, lowered_, i), lowered_.launches[i]);
      } else {
        launch(reduce_params(image_, lowered_, i), lowered_.launches[i]);
      }
    }
  }

  cuda::Before before() const { return options_.cold ? cuda::Before::flush : cuda::Before::wait; }

  std::vector<double> time() {
    std::vector<double> us;
    for (std::int32_t i = -options_.warm_ups; i < options_.repeats; ++i) {
      const double taken = stopwatch_.microseconds(
          before(), [this] { check(cudaGraphLaunch(graph_.get(), stream_), "launching the graph"); });
      if (i >= 0) us.push_back(taken);
    }
    return us;
  }

  /// A run of its own: records cost time.
  scheduler::Timeline record() {
    place_events(plan_, lowered_, image_, [this](const DevicePiece& piece) { return place(piece); });
    cuda::settle();
    if (options_.cold) stopwatch_.flush();
    launch_all();
    check(cudaStreamSynchronize(stream_), "running the plan with its events recorded");
    std::vector<EventRecord> records(static_cast<std::size_t>(image_.event_places.count));
    check(cudaMemcpy(records.data(), image_.events, records.size() * sizeof(EventRecord), cudaMemcpyDeviceToHost),
          "reading events back");
    return event_timeline(plan_, lowered_, records, device_.name);
  }

  AttentionOutput read_back() const {
    const auto rows =
        static_cast<std::size_t>(plan_.forest.request_count()) * static_cast<std::size_t>(plan_.heads.q_heads);
    std::vector<std::byte> values(
        rows * static_cast<std::size_t>(plan_.heads.v_dim * traces::dtype_bytes(options_.row_dtype)));
    std::vector<float> lse(rows);
    check(cudaMemcpy(values.data(), image_.tensors.rows, values.size(), cudaMemcpyDeviceToHost), "reading rows back");
    check(cudaMemcpy(lse.data(), image_.tensors.lse, lse.size() * sizeof(float), cudaMemcpyDeviceToHost),
          "reading log-sum-exps back");
    return read_rows(plan_, options_.row_dtype, values.data(), lse.data());
  }

  std::vector<std::string> environment() const {
    int driver = 0, runtime = 0, clock_khz = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    check(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0), "asking for the clock");
    const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    return {fmt::format("{}, {} SMs, compute capability {}.{}", device_.name, device_.multiProcessorCount,
                        device_.major, device_.minor),
            fmt::format("at most {} MHz, L2 {}, memory {}", clock_khz / 1000, core::bytes_text(device_.l2CacheSize),
                        core::bytes_text(static_cast<std::int64_t>(device_.totalGlobalMem))),
            fmt::format("CUDA driver {}, runtime {}", version(driver), version(runtime)),
            fmt::format("build {}, compiler {}", ESPALIER_BUILD, __VERSION__),
            fmt::format("{}, {} warm-ups, graph of {}", cuda::Stopwatch::describe(device_, before()), options_.warm_ups,
                        core::counted(static_cast<std::int64_t>(lowered_.launches.size()), "kernel")),
            fmt::format("kernel path {}: {}", path(), core::join(kernel_names(), ", "))};
  }

  std::vector<std::string> kernel_names() const {
    std::vector<std::string> names;
    for (const DeviceLaunch& l : lowered_.launches) {
      const std::string name = l.attend != nullptr ? l.attend->name : l.reduce->name;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
  }

  const Plan& plan_;
  const CudaOptions& options_;
  const cudaDeviceProp& device_;
  cudaStream_t stream_;
  cuda::Stopwatch& stopwatch_;
  SharedTensors& tensors_;
  DevicePlan lowered_;
  std::int64_t bytes_ = 0;
  std::size_t kv_tensors_ = 0;  ///< placed
  std::vector<cuda::Buffer> buffers_;
  DeviceImage image_;
  cuda::RunnableGraph graph_;
};

}  // namespace

const KernelSet& cuda_kernels() {
  static const KernelSet kernels = [] {
    KernelSet set;
    for (const auto list :
         {on_cuda::attend_narrow(), on_cuda::attend_standard(), on_cuda::attend_standard_fp16(),
          on_cuda::attend_standard_fp8(), on_cuda::attend_wide(), on_cuda::attend_latent(), on_cuda::attend_bulk(),
          on_cuda::attend_cluster(), on_cuda::attend_wgmma(), on_cuda::products()}) {
      set.attend.insert(set.attend.end(), list.begin(), list.end());
    }
    const auto reduce = on_cuda::reduce_instances();
    set.reduce.assign(reduce.begin(), reduce.end());
    return set;
  }();
  return kernels;
}

CudaRunner::CudaRunner() : state_(std::make_unique<State>()) {}
CudaRunner::~CudaRunner() = default;

CudaRun CudaRunner::run(const Plan& plan, const CudaOptions& options) {
  traces::check_heads(plan.heads, "plan: heads");
  try {
    return Execution(plan, options, {state_->device, state_->stream.get(), state_->stopwatch, state_->tensors}).run();
  } catch (const core::Error& error) {
    // Whatever was refused or ran out of memory leaves the device in order. A kernel that failed doesn't.
    cudaGetLastError();
    if (const cudaError_t after = cudaDeviceSynchronize(); after != cudaSuccess) {
      throw DeviceLost(fmt::format("{}; the device takes no more work from this process ({})", error.what(),
                                   cudaGetErrorName(after)));
    }
    throw;
  }
}

CudaRun run_on_cuda(const Plan& plan, const CudaOptions& options) { return CudaRunner().run(plan, options); }

}  // namespace espalier::kernels
