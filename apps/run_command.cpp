// espalier run: a plan's rows, by an executor, against the oracle.

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "apps/commands.h"
#include "apps/decode_steps.h"
#include "apps/outputs.h"
#include "apps/plan_files.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "kernels/cuda_executor.h"
#include "kernels/emulate.h"
#include "kernels/host_executor.h"
#include "kernels/oracle.h"
#include "kernels/row_error.h"
#include "scheduler/timeline.h"

namespace espalier::apps {
namespace {

/// Multiply-adds beyond which the interpreter would run for many minutes.
constexpr double kInterpretLimit = 2e11;
/// Matrix products beyond which the emulator would run for more than ten minutes or so.
constexpr double kEmulateLimit = 2e8;
/// fp64 interpreter against the fp64 oracle: only the order of additions differs.
constexpr double kTolerance = 1e-10;

[[noreturn]] void fail_difference(const kernels::Difference& difference) {
  throw core::Error(
      core::ErrorKind::check_failed,
      fmt::format("the plan's result differs from the oracle by {:.3e} at request {}, head {}, column {}{}",
                  difference.worst, difference.request, difference.head, difference.column,
                  difference.same_specials ? "" : " (NaN or infinity in other places)"));
}

/// bf16 inputs are exact in fp32; sums of fp32 products differ by their order.
constexpr double kHostTolerance = 2e-4;
constexpr std::int64_t kHostMostBytes = std::int64_t{4} << 30;

int run_on_host(const PlanFileCommand& command, const scheduler::Plan& plan) {
  const kernels::TensorSource source{command.seed};
  const kernels::HostTensors tensors(plan.forest, plan.heads, &source, kHostMostBytes);
  kernels::HostMeasurement measured = kernels::measure_host(plan, tensors, {.repeats = command.repeats});
  kernels::HostExecutor executor(plan, tensors, kernels::host_threads());
  executor.run();
  print_statistics(plan);
  const double cost = kernels::interpret_cost(plan);
  std::vector<double> us = measured.measurement.repeats_us;
  std::sort(us.begin(), us.end());
  fmt::print("ran on {} ({}), cold caches, {} repeats: fastest {}, median {}\n", measured.measurement.environment[0],
             measured.measurement.environment[1], us.size(), core::time_text(us.front()),
             core::time_text(us[us.size() / 2]));
  if (!command.perfetto.empty()) {
    core::write_file(command.perfetto, scheduler::write_trace_events(measured.measurement.timeline, plan));
  }
  measured.measurement.max_error = -1;
  const auto write_json = [&] {
    if (!command.json.empty()) core::write_file(command.json, scheduler::write_measurement(measured.measurement, plan));
  };
  if (cost > kInterpretLimit && !command.force) {
    write_json();
    fmt::print("not checked against the oracle: it would need {:.1g} multiply-adds (limit {:.1g}); --force checks\n",
               cost, kInterpretLimit);
    return 0;
  }
  const kernels::Difference difference =
      kernels::compare(executor.output(), kernels::naive_attention(plan.forest, plan.heads, source));
  measured.measurement.max_error = difference.worst;
  write_json();
  if (!difference.within(kHostTolerance)) fail_difference(difference);
  fmt::print("  all final rows against the oracle: worst difference {:.2e}\n", difference.worst);
  return 0;
}

/// Compares in fp64 what the exact interpreter makes of the plan.
int run_interpreter(const PlanFileCommand& command, const scheduler::Plan& plan) {
  const double cost = kernels::interpret_cost(plan);
  if (cost > kInterpretLimit && !command.force) {
    throw core::usage_error(fmt::format(
        "{}: the exact interpreter would need {:.1g} multiply-adds (limit {:.1g}); use a smaller forest or --force",
        command.plan, cost, kInterpretLimit));
  }
  const kernels::TensorSource source{command.seed};
  const kernels::AttentionOutput want = kernels::naive_attention(plan.forest, plan.heads, source);
  const kernels::AttentionOutput got = kernels::interpret(plan, source);
  const kernels::Difference difference = kernels::compare(got, want);
  print_statistics(plan);
  fmt::print("interpreted in fp64: {} final rows of {} against the oracle, worst difference {:.2e}\n",
             static_cast<std::int64_t>(want.requests) * want.q_heads, want.v_dim, difference.worst);
  if (!difference.within(kTolerance)) fail_difference(difference);
  return 0;
}

void print_traffic(const char* what, const kernels::emulator::GlobalTraffic& traffic) {
  if (traffic.requests == 0) return;
  fmt::print("  {} {}: {} in {} warp requests, {} sectors, {} lines\n", what, core::bytes_text(traffic.bytes),
             core::bytes_text(32 * traffic.sectors), core::count_text(traffic.requests),
             core::count_text(traffic.sectors), core::count_text(traffic.lines));
}

void print_counters(const kernels::emulator::Counters& c) {
  using kernels::emulator::MemoryKind;
  fmt::print("  {} launch{}, {}, {} m16n8k16 products, {} exponentials\n", c.launches, c.launches == 1 ? "" : "es",
             core::counted(c.blocks, "block"), core::count_text(c.mmas), core::count_text(c.exps));
  print_traffic("KV read", c.read(MemoryKind::kv));
  fmt::print("  of KV {} sectors are distinct: what DRAM must give; the L2 may serve what is read again\n",
             core::count_text(c.distinct(MemoryKind::kv)));
  print_traffic("queries read", c.read(MemoryKind::query));
  print_traffic("partial rows written", c.written(MemoryKind::partials));
  print_traffic("partial rows read", c.read(MemoryKind::partials));
  print_traffic("final rows written", c.written(MemoryKind::output));
  fmt::print("  shared memory: {} wavefronts to read, {} of them bank conflicts; {} to write, {} of them conflicts\n",
             core::count_text(c.shared_reads.wavefronts), core::count_text(c.shared_reads.conflicts()),
             core::count_text(c.shared_writes.wavefronts), core::count_text(c.shared_writes.conflicts()));
}

void require_close(const kernels::RowError& error, double tolerance) {
  if (error.worst <= tolerance) return;
  throw core::Error(
      core::ErrorKind::check_failed,
      fmt::format("the kernels' result differs from the oracle by {:.3e} of the row's size at request {}, head {}",
                  error.worst, error.request, error.head));
}

/// Compares what the GPU kernels' source makes of the plan, run by the host emulator.
int run_emulator(const PlanFileCommand& command, const scheduler::Plan& plan) {
  const double cost = kernels::emulation_cost(plan);
  if (cost > kEmulateLimit && !command.force) {
    throw core::usage_error(
        fmt::format("{}: the emulator would need {:.1g} matrix products (limit {:.1g}, about ten minutes); use a "
                    "smaller forest or --force",
                    command.plan, cost, kEmulateLimit));
  }
  const kernels::TensorSource source{command.seed};
  kernels::EmulateOptions options;
  options.row_dtype = plan.heads.q_dtype;
  options.timeline = !command.perfetto.empty();
  options.path = kernels::kernel_path_of(command.kernel_path).value_or(kernels::KernelPath::plain);
  const kernels::Emulation emulation = kernels::emulate(plan, source, options);
  const kernels::AttentionOutput want = kernels::naive_attention(plan.forest, plan.heads, source);
  const kernels::RowError error = kernels::row_error(emulation.output, want);
  const double tolerance = kernels::row_tolerance(plan, options.row_dtype);
  print_statistics(plan);
  fmt::print("emulated: {} final rows of {} in {} against the oracle, worst error of a row {:.2e} (limit {:.0e})\n",
             static_cast<std::int64_t>(want.requests) * want.q_heads, want.v_dim, traces::dtype_name(options.row_dtype),
             error.worst, tolerance);
  print_counters(emulation.counters);
  if (options.timeline) core::write_file(command.perfetto, scheduler::write_trace_events(emulation.timeline, plan));
  require_close(error, tolerance);
  return 0;
}

/// Bytes that no plan can do without, a second.
double unique_gbps(const scheduler::Plan& plan, double us) {
  std::int64_t tokens = 0;
  for (const std::int64_t n : plan.forest.tokens) tokens += n;
  return static_cast<double>(tokens) * static_cast<double>(plan.heads.kv_bytes_per_token_head()) * plan.heads.kv_heads /
         (us * 1e3);
}

int run_on_cuda(const PlanFileCommand& command, const scheduler::Plan& plan) {
  constexpr std::int32_t kLeastRepeats = 20;
  const kernels::TensorSource source{command.seed};
  const bool checked = !command.no_check && (kernels::interpret_cost(plan) <= kInterpretLimit || command.force);
  kernels::CudaOptions options;
  options.row_dtype = plan.heads.q_dtype;
  options.repeats = std::max(command.repeats, kLeastRepeats);
  options.source = checked ? &source : nullptr;
  options.timeline = !command.perfetto.empty();
  options.path = kernels::kernel_path_of(command.kernel_path);
  kernels::CudaRun run = kernels::run_on_cuda(plan, options);
  kernels::RowError error;
  if (checked) error = kernels::row_error(run.output, kernels::naive_attention(plan.forest, plan.heads, source));
  run.measurement.max_error = checked ? error.worst : -1;
  if (!command.json.empty()) core::write_file(command.json, scheduler::write_measurement(run.measurement, plan));
  if (options.timeline) {
    core::write_file(command.perfetto, scheduler::write_trace_events(run.measurement.timeline, plan));
  }
  if (command.json != "-") {
    const double us = scheduler::median_us(run.measurement);
    print_statistics(plan);
    fmt::print("ran on {}: median {} of {} ({:.0f} GB/s of unique KV), {} of device memory\n",
               run.measurement.environment.front(), core::time_text(us), run.measurement.repeats_us.size(),
               unique_gbps(plan, us), core::bytes_text(run.device_bytes));
    if (checked) {
      fmt::print("  all final rows against the oracle: worst error of a row {:.2e}\n", error.worst);
    } else {
      fmt::print("  not checked against the oracle\n");
    }
  }
  if (checked) require_close(error, kernels::row_tolerance(plan, options.row_dtype));
  return 0;
}

/// Backends that an option of `run` means something to; options that aren't here do to all.
struct OptionUse {
  std::string_view option;
  std::vector<std::string> backends;
};

/// An option that changes nothing is a mistake better told than passed over: a file asked for would never appear.
void require_used(const PlanFileCommand& command) {
  const OptionUse uses[] = {{"--json", {"host", "cuda"}},           {"--timeline", {"emulate", "host", "cuda"}},
                            {"--kernel-path", {"emulate", "cuda"}}, {"--steps", {"emulate", "cuda"}},
                            {"--repeats", {"host", "cuda"}},        {"--no-check", {"cuda"}}};
  const auto has = [](const std::vector<std::string>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const OptionUse& use : uses) {
    if (!has(command.given, use.option) || has(use.backends, command.backend)) continue;
    throw core::usage_error(fmt::format("{} means nothing to --backend {}: it goes with {}", use.option,
                                        command.backend, core::join(use.backends, ", ")));
  }
  if (command.steps == 0) return;
  for (const std::string_view option : {"--json", "--timeline", "--repeats", "--no-check"}) {
    if (has(command.given, option)) throw core::usage_error(fmt::format("{} means nothing to --steps", option));
  }
}

void require_affordable_steps(const PlanFileCommand& command, const scheduler::Plan& plan) {
  if (command.force) return;
  const bool emulated = command.backend == "emulate";
  const double limit = emulated ? kEmulateLimit : kInterpretLimit;
  const double cost = (emulated ? kernels::emulation_cost(plan) : kernels::interpret_cost(plan)) * command.steps;
  if (cost <= limit) return;
  throw core::usage_error(fmt::format(
      "{}: {} steps would need {:.1g} {} (limit {:.1g}); use fewer steps, a smaller "
      "forest or --force",
      command.plan, command.steps, cost, emulated ? "matrix products" : "multiply-adds of the oracle", limit));
}

}  // namespace

int run_execute(const PlanFileCommand& command) {
  if (command.backend != "interpret" && command.backend != "emulate" && command.backend != "host" &&
      command.backend != "cuda") {
    throw core::usage_error(core::unknown_name("backend", command.backend, {"interpret", "emulate", "host", "cuda"}));
  }
  require_used(command);
  require_outputs({{"--json", command.json}, {"--timeline", command.perfetto}});
  const scheduler::Plan plan = load_plan(command.plan);
  require_valid(plan, device_for(command, plan));
  if (command.steps > 0) {
    require_affordable_steps(command, plan);
    return run_decode_steps(command, plan);
  }
  if (command.backend == "host") return run_on_host(command, plan);
  if (command.backend == "cuda") return run_on_cuda(command, plan);
  if (command.backend == "emulate") return run_emulator(command, plan);
  return run_interpreter(command, plan);
}

}  // namespace espalier::apps
