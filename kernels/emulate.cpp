// Tensors in the emulator's memory, launches of a lowered plan, rows back.
#include "kernels/emulate.h"

#include "kernels/device_image.h"
#include "kernels/device_tensors.h"
#include "kernels/event_timeline.h"

namespace espalier::kernels {
namespace {

using emulator::GlobalMemory;
using emulator::MemoryKind;
using scheduler::Plan;

constexpr std::int64_t kMostTensorBytes = std::int64_t{4} << 30;

/// Everything a launch needs, in the emulator's memory.
class Run {
 public:
  Run(const Plan& plan, const DevicePlan& lowered, const TensorSource& source, const EmulateOptions& options)
      : plan_(plan), lowered_(lowered), options_(options), machine_(memory_, options.machine) {
    const CacheBytes cache = make_cache(plan, source, kMostTensorBytes);
    const std::vector<std::byte> queries = make_queries(plan, source);
    image_ = place_on_device(plan, lowered, {queries.data(), cache.keys.data(), cache.values.data()}, options.row_dtype,
                             [this](const DevicePiece& piece) { return place(piece); });
    if (options.timeline) {
      place_events(plan, lowered, image_, [this](const DevicePiece& piece) { return place(piece); });
    }
  }

  Emulation run() {
    for (std::size_t i = 0; i < lowered_.launches.size(); ++i) {
      const DeviceLaunch& launch = lowered_.launches[i];
      if (launch.attend != nullptr) {
        emulate_launch(machine_, launch, attend_params(image_, lowered_, i));
      } else {
        emulate_launch(machine_, launch, reduce_params(image_, lowered_, i));
      }
    }
    Emulation done{
        read_rows(plan_, options_.row_dtype, static_cast<const std::byte*>(image_.tensors.rows), image_.tensors.lse),
        machine_.counters(),
        {}};
    if (options_.timeline) {
      done.timeline = event_timeline(plan_, lowered_,
                                     {image_.events, static_cast<std::size_t>(image_.event_places.count)}, "emulator");
    }
    return done;
  }

 private:
  /// Kernels may write what they aren't given.
  void* place(const DevicePiece& piece) {
    if (piece.zeroed) return memory_.allocate_zeroed(piece.name, piece.kind, piece.bytes);
    const bool output =
        piece.kind == MemoryKind::partials || piece.kind == MemoryKind::output || piece.kind == MemoryKind::lse;
    if (output) return memory_.allocate(piece.name, piece.kind, piece.bytes);
    return const_cast<void*>(memory_.upload_bytes(piece.name, piece.kind, piece.from, piece.bytes));
  }

  const Plan& plan_;
  const DevicePlan& lowered_;
  const EmulateOptions& options_;
  GlobalMemory memory_;
  emulator::Machine machine_;
  DeviceImage image_;
};

}  // namespace

void emulate_launch(emulator::Machine& machine, const DeviceLaunch& launch, const AttendParams& params) {
  const AttendInstance& kernel = *launch.attend;
  machine.launch({kernel.name, static_cast<std::uint32_t>(launch.blocks), kernel.threads, kernel.shared_bytes,
                  launch.cooperative(), static_cast<std::uint32_t>(launch.cluster)},
                 [&] { kernel.kernel(params); });
}

void emulate_launch(emulator::Machine& machine, const DeviceLaunch& launch, const ReduceParams& params) {
  const ReduceInstance& kernel = *launch.reduce;
  machine.launch({kernel.name, static_cast<std::uint32_t>(launch.blocks), kernel.threads, 0, false},
                 [&] { kernel.kernel(params); });
}

const KernelSet& host_kernels() {
  static const KernelSet kernels = [] {
    KernelSet set;
    for (const auto list :
         {on_host::attend_narrow(), on_host::attend_standard(), on_host::attend_standard_fp16(),
          on_host::attend_standard_fp8(), on_host::attend_wide(), on_host::attend_latent(), on_host::attend_bulk(),
          on_host::attend_cluster(), on_host::attend_wgmma(), on_host::products()}) {
      set.attend.insert(set.attend.end(), list.begin(), list.end());
    }
    const auto reduce = on_host::reduce_instances();
    set.reduce.assign(reduce.begin(), reduce.end());
    return set;
  }();
  return kernels;
}

Emulation emulate(const Plan& plan, const TensorSource& source, const EmulateOptions& options) {
  traces::check_heads(plan.heads, "plan: heads");
  const DevicePlan lowered = lower_plan(plan, {host_kernels(), options.most_shared_bytes, options.path});
  return Run(plan, lowered, source, options).run();
}

double emulation_cost(const Plan& plan) {
  constexpr double kMmaFlops = 2.0 * 16 * 8 * 16;
  const auto kernels = scheduler::task_kernels(plan);
  double mmas = 0;
  for (const scheduler::TaskId t : core::ids<scheduler::TaskId>(plan.tasks.size())) {
    if (plan.tasks[t].kind == scheduler::TaskKind::padding || !kernels[t].valid()) continue;
    const auto counts =
        costmodel::count_task(scheduler::task_shape(plan, plan.tasks[t]), plan.kernels[kernels[t]], plan.heads);
    mmas += static_cast<double>(counts.mma_flops + counts.fma_flops) / kMmaFlops * plan.tasks[t].copies;
  }
  return mmas;
}

}  // namespace espalier::kernels
