#include "apps/tune.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <thread>

#include "apps/parallel.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"
#include "scheduler/plan_statistics.h"
#include "traces/suites.h"

namespace espalier::apps {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds between two writings of the state, and between two lines of progress on a terminal and elsewhere.
constexpr double kSaveSeconds = 5, kTellSeconds = 0.25, kTellElsewhereSeconds = 10;
/// A part of the kernel catalog, or an option, must gain this much before a policy names it: models aren't better than
/// that.
constexpr double kPolicyGain = 0.005;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// All searches of a run: their states for the file, and what a person sees of them.
class Board {
 public:
  Board(const std::vector<Input>& inputs, const TuneOptions& options)
      : options_(options), begin_(Clock::now()), saved_(begin_), told_(begin_), terminal_(isatty(STDERR_FILENO) == 1) {
    const CompareOptions& c = options.compare;
    std::vector<sim::TuneKey> keys;
    for (const Input& input : inputs) {
      spaces_.push_back(sim::make_draft_space(input.forest, c.heads.heads, c.devices.front()));
      keys.push_back({input.source, input.snapshot, c.seed, traces::forest_hash(input.forest),
                      costmodel::device_hash(c.devices.front()), c.devices.front().name,
                      fmt::format("{} {}/{}", c.heads.text, traces::dtype_name(c.heads.heads.q_dtype),
                                  traces::dtype_name(c.heads.heads.kv_dtype))});
    }
    for (const sim::DraftSpace& space : spaces_) space_of_.push_back(&space);
    if (!options.state.empty() && std::filesystem::exists(options.state)) {
      resumed_ = sim::read_tune_state(core::read_file(options.state), options.state, keys, space_of_);
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      entries_.push_back({keys[i], i < resumed_.size() ? resumed_[i] : sim::TuneState{}});
    }
  }

  /// The state to go on from, if there is a search to go on with.
  const sim::TuneState* resumed(std::size_t i) const {
    return i < resumed_.size() && resumed_[i].iteration > 0 ? &resumed_[i] : nullptr;
  }
  double elapsed() const { return seconds_since(begin_); }

  void tell(std::size_t i, const sim::Tuner& tuner, bool last) {
    const std::lock_guard lock(mutex_);
    if (!options_.state.empty() && (last || seconds_since(saved_) > kSaveSeconds)) {
      entries_[i].state = tuner.state();
      core::write_file(options_.state, sim::write_tune_state(entries_, space_of_));
      saved_ = Clock::now();
    }
    if (entries_.size() > 4 || tuner.best_us() == 0) return;  // a bar shows the inputs done; nothing found is an error
    if (!last && seconds_since(told_) < (terminal_ ? kTellSeconds : kTellElsewhereSeconds)) return;
    told_ = Clock::now();
    fmt::print(stderr, "{}{}: {} iterations in {:.0f} s, best {}{}", terminal_ ? "\r\x1b[K" : "", entries_[i].key.input,
               tuner.state().iteration, elapsed(), core::time_text(tuner.best_us()), terminal_ && !last ? "" : "\n");
    std::fflush(stderr);
  }

 private:
  const TuneOptions& options_;
  Clock::time_point begin_, saved_, told_;
  bool terminal_;
  std::vector<sim::DraftSpace> spaces_;
  std::vector<const sim::DraftSpace*> space_of_;
  std::vector<sim::TuneState> resumed_;
  std::vector<sim::TuneEntry> entries_;
  std::mutex mutex_;
};

/// Parts of our attention kernels that a strategy may be held to: one variant of all heights, or the lower heights.
std::vector<std::vector<std::string>> kernel_parts(const sim::DraftSpace& space) {
  std::vector<std::vector<std::string>> parts = {{}};
  const auto add = [&](auto&& belongs) {
    std::vector<std::string> names;
    for (const sim::DraftKernel& k : space.kernels) {
      if (belongs(k.config)) names.push_back(k.config.name);
    }
    const bool new_part = !names.empty() && names.size() < space.kernels.size() &&
                          std::find(parts.begin(), parts.end(), names) == parts.end();
    if (new_part) parts.push_back(std::move(names));
  };
  for (const std::string_view variant : {"", "_s2", "_n32"}) {
    add([&](const costmodel::KernelConfig& k) {
      return k.name.ends_with(variant) && (!variant.empty() || k.name.rfind('_') == k.name.rfind("_m"));
    });
  }
  for (const sim::DraftKernel& k : space.kernels) {
    add([&](const costmodel::KernelConfig& other) { return other.query_tile <= k.config.query_tile; });
  }
  return parts;
}

struct CaseInput {
  const Input& input;
  const TuneOptions& options;
  const ModelsBySpec& models;
  const costmodel::DeviceSpec& device() const { return options.compare.devices.front(); }
};

/// The fastest of all contenders on all parts of the catalog; plain ones stand unless another gains kPolicyGain. A plan
/// faster than `known_us` becomes the best one known.
scheduler::PolicyRow policy_row(const CaseInput& c, const sim::Tuner& tuner, const std::vector<TuneRow>& rows,
                                double& known_us, std::optional<scheduler::Plan>& known) {
  scheduler::PolicyRow best;
  best.input = fmt::format("{}#{}", c.input.source, c.input.snapshot);
  best.features = scheduler::features_of(c.input.forest);
  for (const TuneRow& row : rows) {
    if (row.time_us && (best.strategy.empty() || *row.time_us < best.time_us)) {
      best.strategy = row.strategy;
      best.time_us = *row.time_us;
    }
  }
  for (const std::vector<std::string>& part : kernel_parts(tuner.space())) {
    if (part.empty()) continue;  // the rows
    for (Contender contender : contenders(c.options.compare)) {
      contender.only_kernels = part;
      const scheduler::PlanResult result = plan_checked(c.input, contender, c.options.compare, c.device(), c.models);
      const auto* plan = std::get_if<scheduler::Plan>(&result);
      if (plan == nullptr) continue;
      const double us = sim::simulate(*plan, c.device()).makespan_us;
      if (us < known_us) {
        known_us = us;
        known = *plan;
      }
      if (us >= best.time_us * (1 - kPolicyGain)) continue;
      best.strategy = contender_name(contender, c.options.compare);
      best.kernels = part;
      best.time_us = us;
    }
  }
  best.best_known_us = known_us;
  return best;
}

TuneResult run_case(const CaseInput& c, std::size_t index, double seconds, Board& board, scheduler::Plan* best) {
  const CompareOptions& compare = c.options.compare;
  const traces::PrefixForest& forest = c.input.forest;
  TuneResult result;
  result.input = c.input.source;
  result.snapshot = c.input.snapshot;
  result.requests = static_cast<std::int64_t>(forest.request_count());
  result.dedupe = scheduler::features_of(forest).dedupe;
  result.lower_bound_us = scheduler::lower_bound(forest, compare.heads.heads, c.device()).us;
  std::vector<scheduler::Plan> plans;
  std::vector<std::size_t> row_of;
  for (const Contender& contender : contenders(compare)) {
    result.rows.push_back({contender_name(contender, compare), {}, 0, ""});
    scheduler::PlanResult planned = plan_checked(c.input, contender, compare, c.device(), c.models);
    if (const auto* refusal = std::get_if<scheduler::Refusal>(&planned)) {
      result.rows.back().why = refusal->sentence;
      continue;
    }
    plans.push_back(std::get<scheduler::Plan>(std::move(planned)));
    row_of.push_back(result.rows.size() - 1);
  }
  sim::Tuner tuner(forest, compare.heads.heads, c.device(), std::move(plans), compare.seed);
  if (const sim::TuneState* state = board.resumed(index)) tuner.resume(*state, c.options.state);
  const Clock::time_point begin = Clock::now();
  const auto done = [&] {
    if (c.options.iterations > 0 && tuner.state().iteration >= c.options.iterations) return true;
    return c.options.seconds > 0 && seconds_since(begin) >= seconds;
  };
  while (!done()) {
    tuner.step();
    if (tuner.state().iteration % 16 == 0) board.tell(index, tuner, false);
  }
  board.tell(index, tuner, true);
  if (c.options.exact) {
    result.exact = sim::search_exactly(tuner.space(), tuner.best_us());
    if (result.exact->best) tuner.offer(*result.exact->best);
  }
  result.iterations = tuner.state().iteration;
  result.best_us = tuner.best_us();
  if (result.best_us == 0) {
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("no plan for {} fits {}", result.input, c.device().name));
  }
  double fastest = 0;
  for (std::size_t p = 0; p < row_of.size(); ++p) {
    const double us = tuner.plan_times_us()[p];
    result.rows[row_of[p]].time_us = us;
    fastest = fastest == 0 ? us : std::min(fastest, us);
  }
  std::optional<scheduler::Plan> of_policy;
  if (c.options.policy) result.policy = policy_row(c, tuner, result.rows, result.best_us, of_policy);
  for (const std::size_t r : row_of) result.rows[r].regret = *result.rows[r].time_us / result.best_us - 1;
  result.best_found = fastest == 0 || result.best_us < fastest;
  if (best != nullptr) *best = of_policy ? std::move(*of_policy) : tuner.best_plan();
  return result;
}

}  // namespace

std::vector<TuneResult> tune(const std::vector<Input>& inputs, const TuneOptions& options, scheduler::Plan* best) {
  ESPALIER_CHECK(best == nullptr || inputs.size() == 1);
  Board board(inputs, options);
  const ModelsBySpec models = make_models(options.compare, options.compare.devices.front());
  std::vector<TuneResult> results(inputs.size());
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t jobs =
      std::min(options.compare.jobs > 0 ? static_cast<std::size_t>(options.compare.jobs) : cores, inputs.size());
  const double seconds = options.seconds * static_cast<double>(jobs) / static_cast<double>(inputs.size());
  for_each_case("tuning", inputs.size(), options.compare.jobs, [&](std::size_t i) {
    results[i] = run_case({inputs[i], options, models}, i, seconds, board, best);
  });
  return results;
}

std::vector<Input> regret_instances(std::uint64_t seed) {
  std::vector<Input> inputs;
  for (std::int64_t i = 0; i < traces::kRaggedForests; ++i) {
    traces::PrefixForest forest = traces::ragged_forest(seed, i);
    const std::string name = forest.name;
    inputs.push_back({name, 0, std::move(forest)});
  }
  return inputs;
}

}  // namespace espalier::apps
