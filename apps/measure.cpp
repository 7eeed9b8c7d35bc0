// Planned in parallel a batch ahead, run one after another.
#include "apps/measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "apps/parallel.h"
#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"
#include "costmodel/regression.h"
#include "kernels/cuda_executor.h"
#include "kernels/device_image.h"
#include "kernels/emulate.h"
#include "kernels/row_error.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"

namespace espalier::apps {
namespace {

constexpr std::size_t kBatch = 32;

struct Job {
  const Input* input;
  Contender contender;
  std::optional<scheduler::Plan> plan;
  MeasureRow row;
};

std::int64_t unique_bytes(const Input& input, const traces::HeadConfig& heads) {
  std::int64_t tokens = 0;
  for (const std::int64_t n : input.forest.tokens) tokens += n;
  return tokens * heads.kv_bytes_per_token_head() * heads.kv_heads;
}

/// Fills in all but what running it tells.
void plan_job(Job& job, const MeasureOptions& options, const ModelsBySpec& models) {
  const costmodel::DeviceSpec& device = options.plans.devices.front();
  const auto beyond_memory = [&](std::int64_t bytes) {
    if (bytes <= options.memory_bytes) return false;
    job.row.status = MeasureStatus::memory;
    job.row.note = fmt::format("needs {} of {}", core::bytes_text(bytes), core::bytes_text(options.memory_bytes));
    return true;
  };
  if (beyond_memory(job.row.unique_kv_bytes)) return;
  try {
    scheduler::PlanResult result = plan_checked(*job.input, job.contender, options.plans, device, models);
    if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
      job.row.status = MeasureStatus::refused;
      job.row.note = refusal->sentence;
      return;
    }
    scheduler::Plan& plan = std::get<scheduler::Plan>(result);
    const kernels::DevicePlan lowered = kernels::lower_plan(plan, {.set = kernels::host_kernels()});
    job.row.device_bytes = kernels::device_bytes(plan, lowered, plan.heads.q_dtype);
    job.row.launches = static_cast<std::int64_t>(lowered.launches.size());
    if (beyond_memory(job.row.device_bytes)) return;
    job.row.predicted_us = sim::simulate(plan, device).makespan_us;
    job.row.plan_hash = core::hash_text(plan.hash);
    job.row.status = MeasureStatus::planned;
    job.plan = std::move(plan);
  } catch (const kernels::PlanRefused& refusal) {
    job.row.status = MeasureStatus::refused;
    job.row.note = refusal.what();
  } catch (const core::Error& error) {
    job.row.status = MeasureStatus::failed;
    job.row.note = error.what();
  }
}

std::string file_name(const MeasureRow& row) {
  std::string name = row.input + "__" + row.heads + "__" + row.strategy + ".json";
  for (char& c : name) {
    if (c == '/' || c == ' ' || c == ':' || c == ',' || c == '|' || c == '=') c = '-';
  }
  return name;
}

/// Rows of the first strategy that ran on an input.
struct FirstRows {
  std::string strategy;
  kernels::AttentionOutput rows;
  double limit = 0;
};
using RowsByInput = std::map<const Input*, FirstRows>;

/// Tensors of an input are the same for every strategy: so must be what comes of them.
void compare_rows(Job& job, PlanTimes& times, RowsByInput& first) {
  if (times.rows.rows.empty()) return;
  const auto [found, is_first] = first.try_emplace(job.input);
  if (is_first) {
    found->second = {job.row.strategy, std::move(times.rows), times.row_limit};
    return;
  }
  times.error = kernels::row_error(times.rows, found->second.rows).worst / (times.row_limit + found->second.limit);
  if (!(*times.error <= 1)) job.row.note = fmt::format("rows differ from those of {}", found->second.strategy);
}

void run_job(Job& job, const MeasureOptions& options, const PlanRunner& run, RowsByInput& first) {
  MeasureRow& row = job.row;
  try {
    PlanTimes times = run(*job.plan);
    compare_rows(job, times, first);
    row.path = times.path;
    row.repeats = static_cast<std::int32_t>(times.repeats_us.size());
    row.median_us = costmodel::quantile(times.repeats_us, 0.5);
    row.spread =
        (costmodel::quantile(times.repeats_us, 0.75) - costmodel::quantile(times.repeats_us, 0.25)) / row.median_us;
    row.error = times.error;
    row.status = row.error.value_or(0) <= 1 ? MeasureStatus::ok : MeasureStatus::wrong;  // NaN is wrong, too
    if (options.plan_folder.empty() || row.status != MeasureStatus::ok) return;
    row.plan_file = file_name(row);
    core::write_file(options.plan_folder + "/" + row.plan_file, scheduler::write_plan(*job.plan));
  } catch (const kernels::PlanRefused& refusal) {
    row.status = MeasureStatus::refused;
    row.note = refusal.what();
  } catch (const kernels::DeviceLost& lost) {
    row.status = MeasureStatus::lost;
    row.note = lost.what();
  } catch (const core::Error& error) {
    row.status = MeasureStatus::failed;
    row.note = error.what();
  }
}

std::vector<Job> make_jobs(const std::vector<Input>& inputs, const CompareOptions& options, std::size_t begin) {
  std::vector<Job> jobs;
  for (const Contender& contender : contenders(options)) {
    for (const Input& input : inputs) {
      Job job{&input, contender, std::nullopt, {}};
      job.row.input = input.snapshot > 0 ? fmt::format("{}#{}", input.source, input.snapshot) : input.source;
      job.row.heads = options.heads.text;
      job.row.strategy = contender_name(contender, options);
      job.row.unique_kv_bytes = unique_bytes(input, options.heads.heads);
      jobs.push_back(std::move(job));
    }
  }
  jobs.erase(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(std::min(begin, jobs.size())));
  return jobs;
}

std::vector<MeasureRow> rows_of(const std::vector<Job>& jobs) {
  std::vector<MeasureRow> rows;
  for (const Job& job : jobs) rows.push_back(job.row);
  return rows;
}

std::string cell(const MeasureRow& row) {
  if (row.status == MeasureStatus::ok) return fmt::format("{:.1f}", row.median_us);
  if (row.status == MeasureStatus::planned) return fmt::format("({:.1f})", row.predicted_us);
  return row.status == MeasureStatus::memory ? "n/a: memory" : std::string(measure_status_name(row.status));
}
double time_of(const MeasureRow& row) {
  return row.status == MeasureStatus::ok ? row.median_us : row.status == MeasureStatus::planned ? row.predicted_us : 0;
}

std::string quoted(std::string text) {
  std::replace(text.begin(), text.end(), '"', '\'');
  std::replace(text.begin(), text.end(), '\n', ' ');
  return '"' + text + '"';
}

}  // namespace

std::string_view measure_status_name(MeasureStatus status) {
  constexpr std::string_view kNames[] = {"ok",    "planned", "refused", "n/a: memory",
                                         "wrong", "failed",  "lost",    "skipped"};
  return kNames[static_cast<std::size_t>(status)];
}

std::vector<MeasureRow> measure_plans(const std::vector<Input>& inputs, const MeasureOptions& options,
                                      const PlanRunner& run) {
  ESPALIER_CHECK_OP(options.plans.devices.size(), ==, 1U);
  const ModelsBySpec models = make_models(options.plans, options.plans.devices.front());
  std::vector<Job> jobs = make_jobs(inputs, options.plans, options.begin);
  RowsByInput first_rows;
  bool lost = false;
  const auto begin = std::chrono::steady_clock::now();
  const auto late = [&] {
    return options.seconds > 0 &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > options.seconds;
  };
  for (std::size_t first = 0; first < jobs.size() && !late() && !lost; first += kBatch) {
    const std::size_t count = std::min(kBatch, jobs.size() - first);
    for_each_case("planning", count, options.plans.jobs,
                  [&](std::size_t i) { plan_job(jobs[first + i], options, models); });
    for (std::size_t i = first; i < first + count; ++i) {
      if (!jobs[i].plan) continue;
      if (late() || lost) {
        jobs[i].row.status = MeasureStatus::skipped;
      } else if (run) {
        run_job(jobs[i], options, run, first_rows);
      }
      lost = lost || jobs[i].row.status == MeasureStatus::lost;
      jobs[i].plan.reset();
    }
    if (options.keep) options.keep(rows_of(jobs));
  }
  return rows_of(jobs);
}

kernels::AttentionOutput some_rows(const kernels::AttentionOutput& all, std::int32_t most_requests) {
  kernels::AttentionOutput some{.requests = std::min(all.requests, most_requests),
                                .q_heads = all.q_heads,
                                .v_dim = all.v_dim,
                                .rows = {},
                                .lse = {}};
  for (std::int32_t i = 0; i < some.requests; ++i) {
    const auto request = std::int64_t{i} * all.requests / some.requests;
    const auto copy = [&](const std::vector<double>& from, std::vector<double>& to, std::int64_t each) {
      to.insert(to.end(), from.begin() + request * each, from.begin() + (request + 1) * each);
    };
    copy(all.rows, some.rows, std::int64_t{all.q_heads} * all.v_dim);
    copy(all.lse, some.lse, all.q_heads);
  }
  return some;
}

std::vector<costmodel::MeasuredPlan> measured_plans(const std::vector<MeasureRow>& rows) {
  std::vector<costmodel::MeasuredPlan> plans;
  for (const MeasureRow& row : rows) {
    if (row.status != MeasureStatus::ok || row.plan_file.empty()) continue;
    plans.push_back({row.plan_file, row.plan_hash, row.input + " " + row.heads, row.strategy, row.repeats,
                     row.median_us, row.spread});
  }
  return plans;
}

std::string measure_csv(const std::vector<MeasureRow>& rows) {
  std::string text =
      "input,heads,strategy,status,median_us,spread,repeats,predicted_us,unique_gb_per_s,launches,device_bytes,error_"
      "over_limit,kernel_path,note\n";
  for (const MeasureRow& r : rows) {
    const bool timed = r.median_us > 0;
    text +=
        fmt::format("{},{},{},{},{},{},{},{:.3f},{},{},{},{},{},{}\n", quoted(r.input), r.heads, quoted(r.strategy),
                    measure_status_name(r.status), timed ? fmt::format("{:.3f}", r.median_us) : "",
                    timed ? fmt::format("{:.4f}", r.spread) : "", r.repeats, r.predicted_us,
                    timed ? fmt::format("{:.1f}", static_cast<double>(r.unique_kv_bytes) / (r.median_us * 1e3)) : "",
                    r.launches, r.device_bytes, r.error ? fmt::format("{:.3g}", *r.error) : "", r.path, quoted(r.note));
  }
  return text;
}

std::string measure_markdown(const std::vector<MeasureRow>& rows) {
  std::vector<std::string> strategies, inputs;
  std::map<std::pair<std::string, std::string>, const MeasureRow*> at;
  const auto add = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const MeasureRow& row : rows) {
    const std::string input = row.input + " " + row.heads;
    add(strategies, row.strategy);
    add(inputs, input);
    at.emplace(std::pair(input, row.strategy), &row);
  }
  std::string text = "| us | " + core::join(strategies, " | ") + " |\n|---|" + [&] {
    std::string dashes;
    for (std::size_t i = 0; i < strategies.size(); ++i) dashes += "---:|";
    return dashes;
  }() + "\n";
  for (const std::string& input : inputs) {
    text += "| " + input;
    for (const std::string& strategy : strategies) {
      const auto found = at.find({input, strategy});
      text += " | " + (found == at.end() ? std::string() : cell(*found->second));
    }
    text += " |\n";
  }
  if (strategies.empty()) return text;
  text += fmt::format("\nGeometric mean of speed-ups over {}:\n\n", strategies.front());
  for (const std::string& strategy : strategies) {
    double sum = 0;
    std::int64_t count = 0;
    for (const std::string& input : inputs) {
      const auto base = at.find({input, strategies.front()}), mine = at.find({input, strategy});
      if (base == at.end() || mine == at.end() || time_of(*base->second) <= 0 || time_of(*mine->second) <= 0) continue;
      sum += std::log(time_of(*base->second) / time_of(*mine->second));
      ++count;
    }
    if (count > 0) {
      text += fmt::format("* {}: {:.2f}x, {}\n", strategy, std::exp(sum / static_cast<double>(count)),
                          core::counted(count, "input"));
    }
  }
  return text;
}

}  // namespace espalier::apps
