// Rows → ranked tables and verdicts: which strategy, how much over FlashDecoding, what share of the bound, why; and
// plainly, when sharing isn't worth it.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "apps/compare.h"
#include "apps/terminal.h"
#include "core/text.h"
#include "sim/interval.h"

namespace espalier::apps {
namespace {

/// Below this dedupe, sharing can save less than a tenth of the KV traffic: not worth a more complex plan.
constexpr double kWorthSharing = 1.1;
/// Gains below this drown in run-to-run noise of real kernels (repeat spread 0.5-2 %, doubled).
constexpr double kWorthHaving = 1.03;
/// From this share of SM time on, a part is worth a word.
constexpr double kWorthSaying = 0.02;
/// Strategies named in one line.
constexpr std::size_t kMostNamed = 3;

std::string percent(double share) { return fmt::format("{:.0f} %", share * 100.0); }

std::string times(const std::optional<double>& speedup) { return speedup ? fmt::format("{:.2f}x", *speedup) : "-"; }

/// "SM time: 88 % HBM, 9 % starts and ends of CTAs; idle: 3 % tail": parts worth a word.
std::string where_time_goes(const Summary& s) {
  static constexpr const char* kBusy[sim::kBounds] = {"HBM", "L2", "compute", "latency", "starts and ends of CTAs"};
  std::vector<std::string> busy, idle;
  for (int b = 0; b < sim::kBounds; ++b) {
    if (s.shares.busy[b] >= kWorthSaying) busy.push_back(fmt::format("{} {}", percent(s.shares.busy[b]), kBusy[b]));
  }
  const std::pair<double, const char*> parts[] = {{s.shares.underfill, "too few CTAs"},
                                                  {s.shares.tail, "tail"},
                                                  {s.shares.merge, "merges"},
                                                  {s.shares.launch, "launch gaps"}};
  for (const auto& [share, name] : parts) {
    if (share >= kWorthSaying) idle.push_back(fmt::format("{} {}", percent(share), name));
  }
  std::string text = "SM time: " + core::join(busy, ", ");
  if (!idle.empty()) text += "; idle: " + core::join(idle, ", ");
  return text + fmt::format("; HBM moves {:.2f}x the unique KV", s.reads_over_unique);
}

std::vector<std::string> planning_verdict(const Summary& best, const Summary* flat, const CompareOptions& options) {
  const HeadChoice& heads = options.heads;
  if (heads.layers == 0 || best.plan_us <= 0) return {};
  const double step_us = best.time_us * heads.layers;
  std::vector<std::string> lines = {fmt::format(
      "{}: attention {} a token over {} layers; planning {} a step, one plan for all layers ({} of it if not hidden).",
      heads.model, core::time_text(step_us), heads.layers, core::time_text(best.plan_us),
      percent(best.plan_us / step_us))};
  const double gain_us = flat != nullptr && flat->complete() ? flat->time_us - best.time_us : 0;
  if (gain_us <= 0) return lines;
  const double layers = best.plan_us / gain_us;
  if (layers <= heads.layers) {
    lines.push_back(
        fmt::format("Planning pays for itself from {:.0f} layer{} on.", std::ceil(layers), layers > 1 ? "s" : ""));
  } else {
    lines.push_back(fmt::format(
        "Planning is not free here: it costs more than the plan gains over {} layers; reuse a plan for {:.0f} steps "
        "or plan off the critical path.",
        heads.layers, std::ceil(layers / heads.layers)));
  }
  return lines;
}

/// The first lines: use what, and is sharing worth it?
std::vector<std::string> advice(const Summary& best, const Summary* flat) {
  if (!best.speedup) {
    return {fmt::format("use {}; flash_decoding can't serve this{}.", best.strategy,
                        flat != nullptr && !flat->why.empty() ? " (" + flat->why + ")" : "")};
  }
  const bool flat_wins = best.strategy == "flash_decoding" || *best.speedup < kWorthHaving;
  if (best.dedupe < kWorthSharing) {
    std::vector<std::string> lines = {
        fmt::format("sharing is not worth it here: dedupe {:.2f}, so reading every prefix once saves at most {:.1f} % "
                    "of the KV reads.",
                    best.dedupe, (1.0 - 1.0 / best.dedupe) * 100.0)};
    if (best.strategy == "flash_decoding") {
      lines.emplace_back("Keep flash_decoding; no other plan is faster.");
    } else if (flat_wins) {
      lines.push_back(
          fmt::format("Keep flash_decoding; the best other plan, {}, gains {}.", best.strategy, times(best.speedup)));
    } else {
      lines.push_back(fmt::format("{} still gains {} over flash_decoding, by balance and cuts rather than by sharing.",
                                  best.strategy, times(best.speedup)));
    }
    return lines;
  }
  if (!flat_wins) {
    return {fmt::format("use {}: {} over flash_decoding at dedupe {:.2f}.", best.strategy, times(best.speedup),
                        best.dedupe)};
  }
  const bool tiny =
      best.bound_by == sim::bound_name(sim::Bound::fixed) || best.bound_by == sim::bound_name(sim::Bound::latency);
  const std::string rest = best.strategy == "flash_decoding" ? "keep flash_decoding; no other plan is faster"
                                                             : fmt::format("the best plan, {}, is at {} flash_decoding",
                                                                           best.strategy, times(best.speedup));
  return {fmt::format("sharing does not pay here although dedupe is {:.2f}: {}{}.", best.dedupe,
                      tiny ? "launches and latencies dominate so small a batch; " : "", rest)};
}

/// Others that no measurement would tell from the best: those that plan faster by name, the rest by number.
std::string as_good_as(const Summary& best, const std::vector<Summary>& ranked) {
  std::vector<std::string> named;
  int others = 0;
  for (const Summary& other : ranked) {
    if (!other.complete() || &other == &best || other.time_us > best.time_us * kWorthHaving) continue;
    const bool timed = other.plan_us > 0 && best.plan_us > 0;
    if (named.size() == kMostNamed || (timed && other.plan_us >= best.plan_us)) {
      ++others;
    } else {
      named.push_back(timed ? fmt::format("{} (plans in {})", other.strategy, core::time_text(other.plan_us))
                            : other.strategy);
    }
  }
  if (named.empty()) return "";
  if (others > 0) named.push_back(fmt::format("{} more", others));
  return fmt::format(
      "As good within {:.0f} %{}: {}.", (kWorthHaving - 1.0) * 100.0,
      best.plan_us > 0 ? fmt::format(", where {} plans in {}", best.strategy, core::time_text(best.plan_us)) : "",
      core::join(named, ", "));
}

/// Mean over the snapshots that both have an interval for: log(other / best), and by how much the device's numbers may
/// move it.
struct Lead {
  double log_ratio = 0, half_width = 0;
  int snapshots = 0;
};

Lead lead_over(const Summary& best, const Summary& other) {
  Lead lead;
  std::vector<double> difference;
  for (const auto& [snapshot, theirs] : other.uncertain) {
    const auto ours = best.uncertain.find(snapshot);
    if (ours == best.uncertain.end()) continue;
    difference.resize(theirs.effects.size(), 0.0);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] += theirs.effects[i] - ours->second.effects[i];
    lead.log_ratio += std::log(theirs.time_us / ours->second.time_us);
    ++lead.snapshots;
  }
  if (lead.snapshots == 0) return lead;
  lead.log_ratio /= lead.snapshots;
  for (double& effect : difference) effect /= lead.snapshots;
  lead.half_width = sim::log_half_width(difference);
  return lead;
}

/// Others whose lead or lag is less than what the device's numbers may shift between the two.
std::string too_close(const Summary& best, const std::vector<Summary>& ranked) {
  std::vector<std::string> named;
  for (const Summary& other : ranked) {
    if (!other.complete() || &other == &best || named.size() == kMostNamed) continue;
    const Lead lead = lead_over(best, other);
    if (lead.snapshots == 0 || std::abs(lead.log_ratio) > lead.half_width) continue;
    named.push_back(fmt::format("{} ({:+.1f} %, +- {:.1f} %)", other.strategy, 100.0 * std::expm1(lead.log_ratio),
                                100.0 * std::expm1(lead.half_width)));
  }
  if (named.empty()) return "";
  return fmt::format("Too close, measure: {}.", core::join(named, ", "));
}

/// " +- 4.2 %", from the mean effects over the snapshots; empty without intervals.
std::string width_text(const Summary& s) {
  if (s.uncertain.empty()) return "";
  std::vector<double> mean(s.uncertain.begin()->second.effects.size(), 0.0);
  for (const auto& [snapshot, uncertain] : s.uncertain) {
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] += uncertain.effects[i] / static_cast<double>(s.uncertain.size());
    }
  }
  return fmt::format(" +- {:.1f} %", 100.0 * std::expm1(sim::log_half_width(mean)));
}

std::vector<std::string> summary_cells(const Summary& s, bool best) {
  const std::string refused = s.invalid > 0 ? fmt::format("INVALID {}/{}", s.invalid, s.snapshots)
                                            : fmt::format("refused {}/{}", s.refused, s.snapshots);
  if (s.served() == 0) return {s.strategy, refused, "", "", "", "", "", s.why};
  return {s.strategy,
          core::time_text(s.time_us),
          times(s.speedup),
          percent(s.share_of_bound),
          core::bytes_text(static_cast<std::int64_t>(s.hbm_bytes)),
          s.plan_us > 0 ? core::time_text(s.plan_us) : "-",
          s.bound_by,
          s.complete() ? (best ? "best" : "") : refused + ", mean of the others"};
}

void rank(std::vector<Summary>& block) {
  const bool by_speedup =
      std::all_of(block.begin(), block.end(), [](const Summary& s) { return !s.complete() || s.speedup; });
  std::stable_sort(block.begin(), block.end(), [&](const Summary& a, const Summary& b) {
    const auto grade = [](const Summary& s) { return s.complete() ? 0 : s.served() > 0 ? 1 : 2; };
    if (grade(a) != grade(b)) return grade(a) < grade(b);
    return by_speedup && a.complete() ? *a.speedup > *b.speedup : a.time_us < b.time_us;
  });
}

/// Sums one served row; finish() turns sums into means.
void add_row(Summary& s, const ReportRow& row, double& longest_us) {
  if (*row.time_us > longest_us) {
    longest_us = *row.time_us;
    s.bound_by = row.bound_by;
    s.why = row.why;
  }
  s.time_us += *row.time_us;
  if (s.speedup && row.speedup_vs_flash_decoding) {
    *s.speedup += std::log(*row.speedup_vs_flash_decoding);
  } else {
    s.speedup.reset();
  }
  s.share_of_bound += std::log(*row.share_of_bound);
  s.share_of_datasheet += std::log(*row.share_of_datasheet_bound);
  s.plan_us += row.plan_us.value_or(0.0);
  s.hbm_bytes += static_cast<double>(row.hbm_bytes);
  s.reads_over_unique +=
      static_cast<double>(row.hbm_bytes) / static_cast<double>(std::max<std::int64_t>(1, row.unique_kv_bytes));
  s.shares += row.shares;
  if (!row.effects.empty()) s.uncertain[row.snapshot] = {*row.time_us, row.effects};
}

void finish(Summary& s) {
  s.dedupe = std::exp(s.dedupe / static_cast<double>(s.snapshots));
  const auto served = static_cast<double>(s.served());
  if (served == 0) {
    s.speedup.reset();
    return;
  }
  if (s.speedup) s.speedup = std::exp(*s.speedup / served);
  for (double* ratio : {&s.share_of_bound, &s.share_of_datasheet}) *ratio = std::exp(*ratio / served);
  for (double* mean : {&s.time_us, &s.plan_us, &s.hbm_bytes, &s.reads_over_unique}) *mean /= served;
  s.shares /= served;
}

}  // namespace

std::vector<Summary> summarise(const std::vector<ReportRow>& rows) {
  std::vector<Summary> all;
  std::vector<double> longest_us;
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> place;
  for (const ReportRow& row : rows) {
    const auto [at, fresh] = place.try_emplace({row.input, row.device, row.strategy}, all.size());
    if (fresh) {
      Summary s;
      s.input = row.input;
      s.device = row.device;
      s.strategy = row.strategy;
      s.dedupe = 0;
      s.speedup = 0.0;
      all.push_back(std::move(s));
      longest_us.push_back(0);
    }
    Summary& s = all[at->second];
    ++s.snapshots;
    s.dedupe += std::log(row.dedupe);
    s.refused += row.status == RowStatus::refused;
    s.invalid += row.status == RowStatus::invalid;
    if (row.status == RowStatus::ok) {
      add_row(s, row, longest_us[at->second]);
    } else if (s.why.empty()) {
      s.why = row.why;
    }
  }
  for (Summary& s : all) finish(s);
  return all;
}

std::vector<std::string> verdict(const std::vector<Summary>& ranked, const CompareOptions& options) {
  const Summary& best = ranked.front();
  if (best.served() == 0) return {fmt::format("no strategy can serve this input: {}.", best.why)};
  const auto it =
      std::find_if(ranked.begin(), ranked.end(), [](const Summary& s) { return s.strategy == "flash_decoding"; });
  const Summary* flat = it == ranked.end() ? nullptr : &*it;
  std::vector<std::string> lines = advice(best, flat);
  if (std::string others = as_good_as(best, ranked); !others.empty()) lines.push_back(std::move(others));
  if (std::string close = too_close(best, ranked); !close.empty()) lines.push_back(std::move(close));
  lines.push_back(fmt::format("{}: {}{} a layer, {} of the lower bound ({} at data-sheet bandwidth).", best.strategy,
                              core::time_text(best.time_us), width_text(best), percent(best.share_of_bound),
                              percent(best.share_of_datasheet)));
  lines.push_back(where_time_goes(best) + ".");
  if (!best.why.empty()) {
    lines.push_back(fmt::format("{}: {}.", best.snapshots > 1 ? "plan of the longest snapshot" : "plan", best.why));
  }
  for (std::string& line : planning_verdict(best, flat, options)) lines.push_back(std::move(line));
  return lines;
}

std::vector<RankedBlock> rank_blocks(const std::vector<ReportRow>& rows) {
  std::vector<RankedBlock> blocks;
  std::map<std::pair<std::string, std::string>, std::size_t> place;
  for (Summary& s : summarise(rows)) {
    const auto [at, fresh] = place.try_emplace({s.input, s.device}, blocks.size());
    if (fresh) blocks.emplace_back();
    blocks[at->second].summaries.push_back(std::move(s));
  }
  for (RankedBlock& block : blocks) rank(block.summaries);
  return blocks;
}

std::string render(const std::vector<ReportRow>& rows, const CompareOptions& options, bool all_rows) {
  std::map<std::pair<std::string, std::string>, std::string> every_row;
  for (const ReportRow& row : rows) {
    if (!all_rows) break;
    every_row[{row.input, row.device}] += fmt::format(
        "    #{:<4} {:<16} {:>10} {}\n", row.snapshot, row.strategy,
        row.time_us ? core::time_text(*row.time_us) : status_name(row.status),
        row.time_us
            ? fmt::format("{}, {} of the bound", times(row.speedup_vs_flash_decoding), percent(*row.share_of_bound))
            : row.why);
  }
  std::string text;
  for (const RankedBlock& block : rank_blocks(rows)) {
    const Summary& head = block.best();
    text += fmt::format(
        "{} on {}, heads {}, {} kernels, {}dedupe {:.2f}\n", head.input, head.device, options.heads.text,
        rows.front().kernels,
        head.snapshots > 1 ? fmt::format("{} snapshots (mean times, geometric mean ratios), ", head.snapshots) : "",
        head.dedupe);
    Table table(
        {"strategy", "time", "vs flash", "of bound", "HBM", "plan", "bound by", ""},
        {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right, Align::left, Align::left});
    for (const Summary& s : block.summaries) table.row(summary_cells(s, &s == &head));
    text += head.served() > 0 ? table.finish({0}) : table.finish();
    text += "  verdict: " + core::join(verdict(block.summaries, options), "\n           ") + "\n";
    text += every_row[{head.input, head.device}] + "\n";
  }
  return text;
}

}  // namespace espalier::apps
