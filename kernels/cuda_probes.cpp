// Memory, launches and events of the probes. The kernels are compiled by nvcc; this file needs only the runtime's
// header.
#include "kernels/cuda_probes.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <span>

#include "core/file.h"
#include "core/rng.h"
#include "kernels/cuda_choice.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_timing.h"
#include "kernels/device_image.h"

namespace espalier::kernels {
namespace {

using cuda::check;
using cuda::Grid;
using emulator::MemoryKind;

constexpr std::int32_t kWarmUps = 3;
constexpr std::size_t kWordBytes = 4096;

std::string driver_text() {
  const char* file = "/proc/driver/nvidia/version";
  std::error_code missing;
  if (std::filesystem::exists(file, missing)) {
    const std::string version = driver_version(core::read_file(file));
    if (!version.empty()) return version;
  }
  int version = 0;
  check(cudaDriverGetVersion(&version), "asking for the driver's version");
  return fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
}

ProbeTarget describe(const cudaDeviceProp& p) {
  ProbeTarget target;
  target.device = p.name;
  target.driver = driver_text();
  target.method = {cuda::Stopwatch::describe(p, cuda::Before::flush), cuda::Stopwatch::describe(p, cuda::Before::wait),
                   fmt::format("kernel path {}", kernel_path_name(cuda::choose_path(p, {}, "calibrate")))};
  const auto warps = p.maxThreadsPerMultiProcessor / 32;
  target.query = {{"sms", p.multiProcessorCount},
                  {"compute_capability", (10 * p.major + p.minor) / 10.0},
                  // The driver keeps some; cards are named by the whole.
                  {"hbm_gib", std::ceil(static_cast<double>(p.totalGlobalMem) / 1073741824.0)},
                  {"l2_mib", static_cast<double>(p.l2CacheSize) / 1048576.0},
                  {"smem_kib_per_sm", static_cast<double>(p.sharedMemPerMultiprocessor) / 1024.0},
                  {"smem_kib_per_cta", static_cast<double>(p.sharedMemPerBlockOptin) / 1024.0},
                  {"registers_per_sm", p.regsPerMultiprocessor},
                  {"warps_per_sm", warps},
                  {"ctas_per_sm", p.maxBlocksPerMultiProcessor}};
  return target;
}

void (*find_probe(const std::string& name))(ProbeParams) {
  for (const auto list : {on_cuda::stream_probes(), on_cuda::ring_probes(), on_cuda::pipe_probes(),
                          on_cuda::launch_probes(), on_cuda::clock_probes(), on_cuda::hopper_probes()}) {
    for (const ProbeInstance& probe : list) {
      if (name == probe.name) return probe.kernel;
    }
  }
  ESPALIER_CHECK(false);
}

}  // namespace

class CudaProbes::State {
 public:
  State()
      : device_(cuda::first_device("calibrate --device cuda")), target_(describe(device_)),
        stream_(cuda::make_stream()), stopwatch_(stream_.get(), device_) {
    source_ = cuda::allocate(static_cast<std::size_t>(memory_.source_bytes));
    sink_ = cuda::allocate(static_cast<std::size_t>(memory_.sink_bytes));
    words_ = cuda::allocate(kWordBytes);
    fill_source();
  }

  const ProbeTarget& target() const { return target_; }

  ProbeTimes microseconds(const ProbePoint& point) {
    if (point.plan != nullptr) return {plan_times(point), {}};
    const Grid grid = grid_of(point);
    if (std::string why = unfit_code(point, code_of(grid.kernel)); !why.empty()) return {{}, std::move(why)};
    if (!fits(grid, point.resident) ||
        (point.other != nullptr && !fits(grid_of(*point.other), point.other->resident))) {
      return {};
    }
    prepare_table(point);
    check(cudaMemset(words_.get(), 0, kWordBytes), "clearing the probe's words");
    cuda::settle();
    ProbeParams params;
    params.shape = point.shape;
    params.source = static_cast<const Chunk*>(source_.get());
    params.sink = static_cast<Chunk*>(sink_.get());
    params.table = static_cast<const std::uint32_t*>(table_.get());
    params.words = static_cast<std::uint32_t*>(words_.get());
    const std::int64_t tile_bytes = std::int64_t{128} * std::max(point.shape.threads, 1);
    params.sink_tiles = std::max<std::int64_t>(1, memory_.sink_bytes / tile_bytes);
    if (point.timer == ProbeTimer::clock) return {clock_times(point, grid, params), {}};
    if (point.table == ProbeTable::lines && point.table_entries * 128 <= device_.l2CacheSize) {
      // Once round, so that what fits L2 is in it.
      ProbeParams round = params;
      round.shape.rounds = point.table_entries;
      launch(grid, &round, stream_.get());
      check(cudaStreamSynchronize(stream_.get()), "warming the L2 cache");
    }
    std::vector<double> us = timed(point, [&](std::int32_t execution) {
      if (point.side_by_side) hand_over(fork_, stream_, second_);
      launch_one(point, grid, params, execution, stream_);
      if (point.other == nullptr) return;
      launch_one(*point.other, grid_of(*point.other), params, execution, point.side_by_side ? second_ : stream_);
      if (point.side_by_side) hand_over(join_, second_, stream_);
    });
    if (std::string why = unfit_mark(point, mark()); !why.empty()) return {{}, std::move(why)};
    return {std::move(us), {}};
  }

 private:
  /// Numbers between 1/2 and 1 of either sign, whatever 16-bit type they are taken for.
  void fill_source() {
    constexpr std::size_t kChunk = std::size_t{16} << 20;
    std::vector<std::uint64_t> numbers(kChunk / sizeof(std::uint64_t));
    core::Rng rng(1);
    for (std::uint64_t& n : numbers) n = (rng.bits() & 0x807F807F807F807FULL) | 0x3F003F003F003F00ULL;
    const auto bytes = static_cast<std::size_t>(memory_.source_bytes);
    auto* to = static_cast<std::byte*>(source_.get());
    check(cudaMemcpy(to, numbers.data(), kChunk, cudaMemcpyHostToDevice), "filling memory");
    for (std::size_t done = kChunk; done < bytes; done *= 2) {
      check(cudaMemcpy(to + done, to, std::min(done, bytes - done), cudaMemcpyDeviceToDevice), "filling memory");
    }
    check(cudaMemset(sink_.get(), 0, static_cast<std::size_t>(memory_.sink_bytes)), "clearing memory");
  }

  static Grid grid_of(const ProbePoint& point) {
    return {reinterpret_cast<const void*>(find_probe(point.kernel)),
            point.blocks,
            point.threads,
            point.shared_bytes,
            point.cluster,
            point.cooperative,
            point.timer == ProbeTimer::programmatic};
  }

  static void launch_one(const ProbePoint& point, const Grid& grid, ProbeParams params, std::int32_t execution,
                         const cuda::Stream& stream) {
    params.shape = point.shape;
    params.shape.first_tile += execution * point.next_first_tile;
    cuda::launch(grid, &params, stream.get());
  }

  /// What `to` is given from now on waits for what `from` was given before.
  static void hand_over(const cuda::Event& event, const cuda::Stream& from, const cuda::Stream& to) {
    check(cudaEventRecord(event.get(), from.get()), "recording an event");
    check(cudaStreamWaitEvent(to.get(), event.get(), 0), "waiting for a stream");
  }

  /// What the kernel's code was compiled for, as 90: the driver may have made it from code for an older device.
  static std::int32_t code_of(const void* kernel) {
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, kernel), "asking what a probe was compiled for");
    return attributes.ptxVersion;
  }

  std::uint32_t mark() const {
    std::uint32_t read = 0;
    check(cudaMemcpy(&read, static_cast<const std::uint32_t*>(words_.get()) + kMarkWord, sizeof read,
                     cudaMemcpyDeviceToHost),
          "reading a probe's mark");
    return read;
  }

  bool fits(const Grid& grid, bool resident) {
    if (grid.shared_bytes > device_.sharedMemPerBlockOptin) return false;
    if (grid.shared_bytes > 0) cuda::allow_shared_memory(grid.kernel, grid.shared_bytes);
    if (!resident && !grid.cooperative) return true;
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, grid.kernel, static_cast<int>(grid.threads),
                                                        grid.shared_bytes),
          "asking for the occupancy");
    return static_cast<std::int64_t>(blocks) * device_.multiProcessorCount >= grid.blocks;
  }

  void prepare_table(const ProbePoint& point) {
    if (point.table == ProbeTable::none || (point.table == table_kind_ && point.table_entries == table_entries_)) {
      return;
    }
    table_.reset();
    const bool pages = point.table == ProbeTable::pages;
    const std::vector<std::uint32_t> numbers =
        pages ? random_order(point.table_entries, 7) : random_cycle(point.table_entries, 7);
    const std::size_t pitch = pages ? sizeof(std::uint32_t) : 128;
    table_ = cuda::allocate(numbers.size() * pitch);
    if (pages) {
      check(cudaMemcpy(table_.get(), numbers.data(), numbers.size() * sizeof(std::uint32_t), cudaMemcpyHostToDevice),
            "placing page ids");
    } else {
      // Spread over lines here: a copy of millions of rows of four bytes takes seconds.
      std::vector<std::uint32_t> lines(numbers.size() * 32, 0);
      for (std::size_t i = 0; i < numbers.size(); ++i) lines[i * 32] = numbers[i];
      check(cudaMemcpy(table_.get(), lines.data(), lines.size() * sizeof(std::uint32_t), cudaMemcpyHostToDevice),
            "placing lines");
    }
    table_kind_ = point.table;
    table_entries_ = point.table_entries;
  }

  std::vector<double> timed(const ProbePoint& point, const std::function<void(std::int32_t)>& execute) {
    const auto all = [&] {
      for (std::int32_t e = 0; e < point.executions; ++e) execute(e);
    };
    cuda::RunnableGraph graph;
    if (point.timer != ProbeTimer::stream) graph = cuda::make_graph(stream_.get(), all);
    const cuda::Before before = point.cold         ? cuda::Before::flush
                                : graph != nullptr ? cuda::Before::wait
                                                   : cuda::Before::nothing;
    std::vector<double> us;
    for (std::int32_t i = -kWarmUps; i < point.repeats; ++i) {
      const double taken = stopwatch_.microseconds(before, [&] {
        if (graph != nullptr) {
          check(cudaGraphLaunch(graph.get(), stream_.get()), "launching a graph");
        } else {
          all();
        }
      });
      if (i >= 0) us.push_back(taken / point.executions);
    }
    return us;
  }

  std::vector<double> clock_times(const ProbePoint& point, const Grid& grid, ProbeParams params) {
    std::vector<double> us;
    for (std::int32_t i = -kWarmUps; i < point.repeats; ++i) {
      launch(grid, &params, stream_.get());
      check(cudaStreamSynchronize(stream_.get()), "running a clock");
      std::uint64_t read[2] = {};
      check(cudaMemcpy(read, words_.get(), sizeof read, cudaMemcpyDeviceToHost), "reading clocks");
      if (read[0] == 0 || read[1] == 0) throw core::Error(core::ErrorKind::check_failed, "CUDA: a clock stood still");
      if (i >= 0) {
        us.push_back(static_cast<double>(read[1]) * 1e-3 * static_cast<double>(point.shape.rounds) /
                     static_cast<double>(read[0]));
      }
    }
    return us;
  }

  /// The plan's keys and values are the source's two halves; each execution reads on, so that none finds what another
  /// left in L2.
  std::vector<double> plan_times(const ProbePoint& point) {
    const DevicePlan lowered =
        lower_plan(*point.plan, cuda::kernels_on(device_, cuda::choose_path(device_, {}, "calibrate")));
    std::vector<cuda::Buffer> buffers;
    const std::int64_t half = memory_.source_bytes / 2;
    std::int64_t kv_bytes = 0;
    int tensors = 0;
    const DeviceImage image =
        place_on_device(*point.plan, lowered, {}, traces::Dtype::fp32, [&](const DevicePiece& piece) -> void* {
          auto* source = static_cast<std::byte*>(source_.get());
          if (piece.kind == MemoryKind::query) return source;
          if (piece.kind == MemoryKind::kv) {
            kv_bytes = (static_cast<std::int64_t>(piece.bytes) + 255) / 256 * 256;
            return source + (tensors++ == 0 ? 0 : half);
          }
          buffers.push_back(cuda::allocate(piece.bytes));
          if (piece.from != nullptr && piece.bytes > 0) {
            check(cudaMemcpy(buffers.back().get(), piece.from, piece.bytes, cudaMemcpyHostToDevice), piece.name);
          }
          if (piece.zeroed) check(cudaMemset(buffers.back().get(), 0, piece.bytes), piece.name);
          return buffers.back().get();
        });
    if (kv_bytes * point.executions > half) return {};
    const auto run = [&](std::size_t index, std::int64_t offset) {
      const DeviceLaunch& l = lowered.launches[index];
      if (l.attend == nullptr) {
        ReduceParams params = reduce_params(image, lowered, index);
        cuda::launch(cuda::grid_of(l), &params, stream_.get());
        return;
      }
      AttendParams params = attend_params(image, lowered, index);
      params.tensors.keys.base = static_cast<const std::byte*>(params.tensors.keys.base) + offset;
      params.tensors.values.base = static_cast<const std::byte*>(params.tensors.values.base) + offset;
      cuda::launch(cuda::grid_of(l), &params, stream_.get());
    };
    for (const DeviceLaunch& l : lowered.launches) {
      if (l.attend != nullptr && !fits(cuda::grid_of(l), false)) return {};
    }
    cuda::settle();
    for (std::size_t l = 0; l < lowered.launches.size(); ++l) run(l, 0);
    check(cudaStreamSynchronize(stream_.get()), "running a plan once");
    return timed(point, [&](std::int32_t execution) { run(point.launch, execution * kv_bytes); });
  }

  cudaDeviceProp device_;
  ProbeTarget target_;
  ProbeMemory memory_;
  cuda::Stream stream_;
  cuda::Stopwatch stopwatch_;
  cuda::Stream second_ = cuda::make_stream();
  cuda::Event fork_ = cuda::make_event(), join_ = cuda::make_event();
  cuda::Buffer source_, sink_, words_, table_;
  ProbeTable table_kind_ = ProbeTable::none;
  std::int64_t table_entries_ = 0;
};

ProbeTarget cuda_target() { return describe(cuda::first_device("calibrate --device cuda and measure")); }

CudaProbes::CudaProbes() : state_(std::make_unique<State>()) {}
CudaProbes::~CudaProbes() = default;
const ProbeTarget& CudaProbes::target() const { return state_->target(); }
ProbeTimes CudaProbes::microseconds(const ProbePoint& point) { return state_->microseconds(point); }

}  // namespace espalier::kernels
