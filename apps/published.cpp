// Simulation of published methods as shipped, one efficiency an implementation, and the scores of the trees that
// weren't fitted on.

#include "apps/published.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "apps/parallel.h"
#include "core/error.h"
#include "core/text.h"
#include "core/units.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"

namespace espalier::apps {
namespace {

/// What is known of a benchmark beyond its file: read in its published source, never fitted.
struct BenchmarkFacts {
  std::string_view source_begins;
  std::vector<std::string_view> private_kv;  ///< strategies it ran over a copy of the whole context for each request
  bool dirty_l2;  ///< a buffer larger than L2 is overwritten before each run, so that reads first push its lines out
  std::vector<std::pair<std::string_view, std::string_view>>
      options;  ///< strategy, and options that stand for the version it ran
  std::vector<std::string_view> sentences;
};

const std::vector<BenchmarkFacts>& benchmarks() {
  static const std::vector<BenchmarkFacts> kFacts = {
      {"FastTree",
       {"flash_decoding", "sglang_triton", "flashinfer_decode", "flashinfer_prefill"},
       true,
       {{"sglang_triton", "cap=1"}, {"deft_flatten", "rewrite=1"}},
       {"flash_decoding, sglang_triton and flashinfer_* read a private copy of each request's whole context "
        "(FastTree's kernel benchmark)",
        "sglang_triton runs without splits, as SGLang 0.2.13 reads the values; its stored scores aren't modelled",
        "a buffer is zeroed before each run (Triton's do_bench): reads push its dirty lines out of L2 first, at the "
        "achievable bandwidth",
        "deft_flatten runs as the re-write in FastTree's artifact: heads packed, tiles of 64 rows and 32 tokens"}}};
  return kFacts;
}

const BenchmarkFacts* facts_of(const PublishedFile& file) {
  for (const BenchmarkFacts& facts : benchmarks()) {
    if (file.source.starts_with(facts.source_begins)) return &facts;
  }
  return nullptr;
}

/// The same batch when nobody shares: each request's context a node of its own.
traces::PrefixForest private_copies(const traces::PrefixForest& forest) {
  traces::ForestSource source;
  source.name = forest.name;
  source.page_size = forest.pages.page_size;
  for (const traces::RequestId r : core::ids<traces::RequestId>(forest.request_count())) {
    source.leaf.push_back(static_cast<std::int64_t>(source.parent.size()));
    source.parent.push_back(-1);
    source.tokens.push_back(forest.context_tokens(r));
    source.request_label.push_back(forest.request_label[r]);
    source.batch_position.push_back(forest.batch_position[r]);
  }
  return traces::make_forest(source);
}

/// "flashinfer_prefill_m64" and "flashinfer_prefill_m16" are one implementation: what follows the family's name is tile
/// sizes.
std::string family_of(std::string name) {
  for (;;) {
    const std::size_t cut = name.rfind('_');
    if (cut == std::string::npos || cut + 2 > name.size()) return name;
    const std::string tail = name.substr(cut + 1);
    const bool tile = (tail[0] == 'm' || tail[0] == 'n' || tail[0] == 'g') && tail.size() > 1 &&
                      std::all_of(tail.begin() + 1, tail.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!tile) return name;
    name.resize(cut);
  }
}

std::string implementation_of(const scheduler::Plan& plan) {
  std::set<std::string> families;
  for (const costmodel::KernelConfig& kernel : plan.kernels) {
    if (kernel.role != costmodel::KernelRole::reduce) families.insert(family_of(kernel.name));
  }
  return core::join({families.begin(), families.end()}, "+");
}

/// A method's plan for a row, or why there is none.
struct Run {
  std::size_t row = 0, method = 0;
  scheduler::Plan plan;
  std::string implementation, refused;
  double throughput = 0;
};

std::string spec_of(const PublishedMethod& method, const traces::HeadConfig& heads, const BenchmarkFacts* facts) {
  std::string spec = heads.group() > 1 && !method.grouped.empty() ? method.grouped : method.strategy;
  if (facts == nullptr) return spec;
  for (const auto& [strategy, options] : facts->options) {
    if (spec == strategy) spec += fmt::format(":{}", options);  // the file's own options go first
  }
  return spec;
}

Run make_run(const PublishedFile& file, std::size_t row_index, std::size_t method_index, const BenchmarkFacts* facts) {
  const PublishedRow& row = file.rows[row_index];
  Run run;
  run.row = row_index;
  run.method = method_index;
  run.throughput = *row.throughput[method_index];
  const scheduler::StrategyChoice choice =
      scheduler::parse_strategy(spec_of(file.methods[method_index], row.heads, facts));
  const std::string_view strategy = choice.strategy->info().name;
  const bool copies = facts != nullptr && std::find(facts->private_kv.begin(), facts->private_kv.end(), strategy) !=
                                              facts->private_kv.end();
  const traces::PrefixForest forest = copies ? private_copies(row.forest) : row.forest;
  scheduler::PlanResult result = scheduler::make_plan(
      choice,
      {.forest = forest, .heads = row.heads, .device = file.device, .kernels = scheduler::KernelSet::published});
  if (const auto* refusal = std::get_if<scheduler::Refusal>(&result)) {
    run.refused = refusal->sentence;
    return run;
  }
  run.plan = std::move(std::get<scheduler::Plan>(result));
  const auto violations = scheduler::validate(run.plan, file.device);
  if (!violations.empty()) run.refused = violations.front().sentence;
  run.implementation = implementation_of(run.plan);
  return run;
}

double simulated_us(scheduler::Plan plan, const PublishedFile& file, double efficiency) {
  for (costmodel::KernelConfig& kernel : plan.kernels) kernel.efficiency *= efficiency;
  seal(plan);
  const sim::SimResult result = sim::simulate(plan, file.device);
  const BenchmarkFacts* facts = facts_of(file);
  if (facts == nullptr || !facts->dirty_l2) return result.makespan_us;
  const double written_back =
      std::min(static_cast<double>(result.hbm_bytes), file.device.l2_mib * static_cast<double>(core::kMiB));
  return result.makespan_us + written_back / file.device.hbm_achievable_bytes_per_us();
}

/// Efficiencies at which fitted methods are simulated: 1 down to 0.03, times between them interpolated in logarithms.
constexpr std::size_t kGrid = 15;
constexpr double kGridStep = 0.25;
constexpr double kFine = 0.05;   ///< of a grid step
constexpr double kHuber = 0.1;   ///< errors beyond this in log time count linearly
constexpr double kPull = 0.002;  ///< a squared grid step costs this: where data don't say, the model's own rates stand
constexpr int kRounds = 60;

double efficiency_at(double x) { return std::exp(-kGridStep * x); }

struct FitPoint {
  const Run* run;
  double weight;
  std::vector<double> log_us;
  double at(double x) const {
    const auto i = std::min(static_cast<std::size_t>(x), kGrid - 2);
    const double part = x - static_cast<double>(i);
    return log_us[i] * (1 - part) + log_us[i + 1] * part + std::log(run->throughput);
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double huber(double error) {
  const double size = std::abs(error);
  return size < kHuber ? size * size / 2 : kHuber * (size - kHuber / 2);
}

/// Times and throughputs of a row multiply to one number that nobody published: it and the efficiencies are found in
/// turns.
std::map<std::string, double> fit(const std::vector<FitPoint>& points) {
  std::map<std::string, double> x;
  std::set<std::size_t> rows;
  for (const FitPoint& p : points) {
    x[p.run->implementation] = 0;
    rows.insert(p.run->row);
  }
  std::map<std::size_t, double> level;
  for (int round = 0; round < kRounds; ++round) {
    for (const std::size_t row : rows) {
      std::vector<double> logs;
      for (const FitPoint& p : points) {
        if (p.run->row == row) logs.push_back(p.at(x.at(p.run->implementation)));
      }
      level[row] = median(logs);
    }
    for (auto& [name, best] : x) {
      double least = INFINITY;
      for (double candidate = 0; candidate <= static_cast<double>(kGrid - 1); candidate += kFine) {
        double loss = kPull * candidate * candidate;
        for (const FitPoint& p : points) {
          if (p.run->implementation == name) loss += p.weight * huber(p.at(candidate) - level.at(p.run->row));
        }
        if (loss >= least) continue;
        least = loss;
        best = candidate;
      }
    }
  }
  return x;
}

std::vector<Implementation> fit_efficiencies(const PublishedFile& file, const std::vector<Run>& runs,
                                             std::int32_t jobs) {
  std::vector<FitPoint> points;
  std::map<std::string, Implementation> all;
  for (const Run& run : runs) {
    if (!run.refused.empty()) continue;
    all[run.implementation].name = run.implementation;
    if (file.rows[run.row].held_out) continue;
    ++all[run.implementation].points;
    const double reading = file.reading_error / run.throughput / kHuber;
    points.push_back({&run, 1 / (1 + reading * reading), std::vector<double>(kGrid)});
  }
  for_each_case("fitting", points.size() * kGrid, jobs, [&](std::size_t i) {
    FitPoint& point = points[i / kGrid];
    point.log_us[i % kGrid] =
        std::log(simulated_us(point.run->plan, file, efficiency_at(static_cast<double>(i % kGrid))));
  });
  for (const auto& [name, x] : fit(points)) all[name].efficiency = efficiency_at(x);
  std::vector<Implementation> list;
  for (auto& [name, implementation] : all) list.push_back(implementation);
  return list;
}

PublishedScore score_row(const PublishedFile& file, std::size_t row, const std::vector<Run>& runs,
                         const std::vector<double>& us) {
  PublishedScore score;
  score.row = &file.rows[row];
  std::optional<std::size_t> reference;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].row != row) continue;
    if (!runs[i].refused.empty()) {
      score.refused.push_back(fmt::format("{}: {}", file.methods[runs[i].method].name, runs[i].refused));
    } else if (!reference || runs[i].throughput > runs[*reference].throughput) {
      reference = i;
    }
  }
  if (!reference) return score;
  score.reference = runs[*reference].method;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].row != row || !runs[i].refused.empty()) continue;
    const double measured = runs[i].throughput / runs[*reference].throughput, predicted = us[*reference] / us[i];
    score.points.push_back(
        {runs[i].method, runs[i].implementation, measured, predicted, us[i], std::log(predicted / measured)});
  }
  score.tau = tau_of_distinct(score.points, file.reading_error / runs[*reference].throughput, score.pairs);
  return score;
}

}  // namespace

std::optional<double> tau_of_distinct(const std::vector<PublishedPoint>& points, double least, std::size_t& pairs) {
  constexpr double kSame = 1e-9;
  double agree = 0, disagree = 0, tied = 0;
  pairs = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double measured = points[i].measured - points[j].measured;
      if (std::abs(measured) <= least * (1 + kSame)) continue;
      ++pairs;
      const double predicted = points[i].predicted - points[j].predicted;
      if (std::abs(predicted) <= kSame * points[i].predicted) {
        ++tied;
      } else if ((predicted > 0) == (measured > 0)) {
        ++agree;
      } else {
        ++disagree;
      }
    }
  }
  if (pairs == 0) return std::nullopt;
  // Measured values of these pairs all differ, so only predicted ones can tie.
  return agree + disagree == 0 ? 0.0 : (agree - disagree) / std::sqrt((agree + disagree) * (agree + disagree + tied));
}

PublishedSummary summarise(const std::vector<PublishedScore>& scores) {
  PublishedSummary summary;
  std::vector<double> taus, errors;
  for (const PublishedScore& score : scores) {
    if (score.tau) taus.push_back(*score.tau);
    for (const PublishedPoint& point : score.points) {
      if (point.method != score.reference) errors.push_back(std::abs(point.log_error));
    }
  }
  if (!taus.empty()) {
    summary.tau_mean = std::accumulate(taus.begin(), taus.end(), 0.0) / static_cast<double>(taus.size());
  }
  if (errors.empty()) return summary;
  summary.worst_abs_log_error = *std::max_element(errors.begin(), errors.end());
  summary.median_abs_log_error = median(std::move(errors));
  return summary;
}

PublishedResult validate_published(const PublishedFile& file, std::int32_t jobs) {
  const BenchmarkFacts* facts = facts_of(file);
  PublishedResult result;
  if (facts != nullptr) result.facts.assign(facts->sentences.begin(), facts->sentences.end());
  std::vector<Run> runs;
  for (std::size_t row = 0; row < file.rows.size(); ++row) {
    for (std::size_t m = 0; m < file.methods.size(); ++m) {
      if (file.methods[m].unmapped.empty() && file.rows[row].throughput[m]) runs.push_back({row, m, {}, "", "", 0});
    }
  }
  for_each_case("planning", runs.size(), jobs,
                [&](std::size_t i) { runs[i] = make_run(file, runs[i].row, runs[i].method, facts); });
  result.implementations = fit_efficiencies(file, runs, jobs);
  std::map<std::string, double> efficiency;
  for (const Implementation& i : result.implementations) efficiency[i.name] = i.efficiency;

  std::vector<double> us(runs.size(), 1), plain_us(runs.size(), 1);
  for_each_case("simulating", runs.size(), jobs, [&](std::size_t i) {
    if (!runs[i].refused.empty()) return;
    us[i] = simulated_us(runs[i].plan, file, efficiency.at(runs[i].implementation));
    plain_us[i] = simulated_us(runs[i].plan, file, 1);
  });
  std::vector<PublishedScore> plain;
  for (std::size_t row = 0; row < file.rows.size(); ++row) {
    (file.rows[row].held_out ? result.held_out : result.fitted).push_back(score_row(file, row, runs, us));
    if (file.rows[row].held_out) plain.push_back(score_row(file, row, runs, plain_us));
  }
  result.summary = summarise(result.held_out);
  result.unfitted = summarise(plain);
  return result;
}

}  // namespace espalier::apps
