// Rows → ranked tables and verdicts: which strategy, how much over FlashDecoding, what share of the bound, why; and plainly, when
// sharing isn't worth it.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "apps/compare.h"
#include "apps/terminal.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

/// Below this dedupe, sharing can save less than a tenth of the KV traffic: not worth a more complex plan.
constexpr double kWorthSharing = 1.1;
/// Gains below this drown in run-to-run noise of real kernels (repeat spread 0.5-2 %, doubled).
constexpr double kWorthHaving = 1.03;

std::string percent(double share) { return fmt::format("{:.0f} %", share * 100.0); }

/// "HBM-bound; idle: 4 % tail, 2 % launch gaps": parts of at least 1 %.
std::string where_time_goes(const Summary& s) {
  std::string text = fmt::format("bound by {}", s.bound_by);
  std::string idle;
  const std::pair<double, const char*> parts[] = {{s.idle_underfill, "too few CTAs"},
                                                  {s.idle_tail, "tail"},
                                                  {s.idle_merge, "merges"},
                                                  {s.idle_launch, "launch gaps"}};
  for (const auto& [share, name] : parts) {
    if (share >= 0.01) idle += fmt::format("{}{} {}", idle.empty() ? "" : ", ", percent(share), name);
  }
  if (!idle.empty()) text += "; SMs idle: " + idle;
  return text;
}

std::string planning_verdict(const Summary& best, const Summary* flat, const CompareOptions& options) {
  const HeadChoice& heads = options.heads;
  if (heads.layers == 0 || best.plan_us <= 0) return "";
  const double step_us = best.time_us * heads.layers;
  std::string text = fmt::format(
      "           {}: attention {} a token over {} layers; planning {} a step, one plan for all layers ({} of it if not hidden).\n",
      heads.model, core::time_text(step_us), heads.layers, core::time_text(best.plan_us), percent(best.plan_us / step_us));
  const double gain_us = flat != nullptr && flat->time_us > 0 ? flat->time_us - best.time_us : 0;
  if (gain_us > 0) {
    const double layers = best.plan_us / gain_us;
    text += layers <= heads.layers
                ? fmt::format("           Planning pays for itself from {:.0f} layer{} on.\n", std::ceil(layers), layers > 1 ? "s" : "")
                : fmt::format("           Planning is not free here: it costs more than the plan gains over {} layers; reuse a plan "
                              "for {:.0f} steps or plan off the critical path.\n",
                              heads.layers, std::ceil(layers / heads.layers));
  }
  return text;
}

std::string verdict(const std::vector<Summary>& ranked, const CompareOptions& options) {
  const auto usable = [](const Summary& s) { return s.time_us > 0 && s.refused == 0 && s.invalid == 0; };
  const auto best = std::find_if(ranked.begin(), ranked.end(), usable);
  if (best == ranked.end()) return "  verdict: no strategy can serve this input.\n";
  const auto flat = std::find_if(ranked.begin(), ranked.end(), [](const Summary& s) { return s.strategy == "flash_decoding"; });
  const Summary* baseline = flat == ranked.end() ? nullptr : &*flat;
  std::string text;
  const bool winner_is_flat = best->strategy == "flash_decoding" || best->speedup < kWorthHaving;
  if (best->dedupe < kWorthSharing) {
    text += fmt::format(
        "  verdict: sharing is not worth it here: dedupe {:.2f}, so reading every prefix once saves at most {:.1f} % of the KV reads.\n",
        best->dedupe, (1.0 - 1.0 / best->dedupe) * 100.0);
    if (winner_is_flat) {
      text += fmt::format("           Keep flash_decoding; the best other plan gains {:.2f}x.\n", best->speedup);
    } else {
      text += fmt::format("           {} still gains {:.2f}x over flash_decoding, by balance and cuts rather than by sharing.\n",
                          best->strategy, best->speedup);
    }
  } else if (winner_is_flat) {
    text += fmt::format("  verdict: sharing does not pay here although dedupe is {:.2f}: the best plan, {}, is at {:.2f}x flash_decoding.\n",
                        best->dedupe, best->strategy, best->speedup);
  } else {
    text += fmt::format("  verdict: use {}: {:.2f}x over flash_decoding at dedupe {:.2f}.\n", best->strategy, best->speedup, best->dedupe);
  }
  text += fmt::format("           {}: {} a layer, {} of the lower bound ({} at data-sheet bandwidth); {}.\n", best->strategy,
                      core::time_text(best->time_us), percent(best->share_of_bound), percent(best->share_of_datasheet),
                      where_time_goes(*best));
  if (!best->why.empty()) {
    text += fmt::format("           {}: {}.\n", best->snapshots > 1 ? "plan of the longest snapshot" : "plan", best->why);
  }
  return text + planning_verdict(*best, baseline, options);
}

std::vector<std::string> summary_cells(const Summary& s, bool best_planned) {
  const std::string refused =
      s.invalid > 0 ? fmt::format("INVALID {}/{}", s.invalid, s.snapshots) : fmt::format("refused {}/{}", s.refused, s.snapshots);
  if (s.time_us <= 0) return {s.strategy, refused, "", "", "", "", "", s.why};
  std::string note = s.refused + s.invalid > 0 ? refused : std::string();
  if (best_planned) note += note.empty() ? "best" : ", best";
  return {s.strategy,
          core::time_text(s.time_us),
          fmt::format("{:.2f}x", s.speedup),
          percent(s.share_of_bound),
          core::bytes_text(static_cast<std::int64_t>(s.hbm_bytes)),
          s.plan_us > 0 ? core::time_text(s.plan_us) : "-",
          s.bound_by,
          note};
}

}  // namespace

std::vector<Summary> summarise(const std::vector<ReportRow>& rows) {
  std::vector<Summary> all;
  std::vector<std::vector<double>> bounds;  // votes for each Summary's bound_by come from the longest row
  for (const ReportRow& row : rows) {
    auto it = std::find_if(all.begin(), all.end(), [&](const Summary& s) {
      return s.input == row.input && s.device == row.device && s.strategy == row.strategy;
    });
    if (it == all.end()) {
      all.emplace_back();
      it = all.end() - 1;
      it->input = row.input;
      it->device = row.device;
      it->strategy = row.strategy;
      it->dedupe = 0;
      bounds.emplace_back();
    }
    Summary& s = *it;
    auto& longest = bounds[static_cast<std::size_t>(it - all.begin())];
    ++s.snapshots;
    s.dedupe += std::log(row.dedupe);
    s.refused += row.status == RowStatus::refused;
    s.invalid += row.status == RowStatus::invalid;
    if (row.status != RowStatus::ok) {
      if (s.why.empty()) s.why = row.why;
      continue;
    }
    if (longest.empty() || *row.time_us > longest.front()) {
      longest.assign(1, *row.time_us);
      s.bound_by = row.bound_by;
      s.why = row.why;
    }
    s.time_us += *row.time_us;
    s.speedup += std::log(row.speedup_vs_flash_decoding.value_or(1.0));
    s.share_of_bound += std::log(*row.share_of_bound);
    s.share_of_datasheet += std::log(*row.share_of_datasheet_bound);
    s.plan_us += row.plan_us.value_or(0.0);
    s.hbm_bytes += static_cast<double>(row.hbm_bytes);
    s.idle_launch += row.idle_launch;
    s.idle_underfill += row.idle_underfill;
    s.idle_tail += row.idle_tail;
    s.idle_merge += row.idle_merge;
  }
  for (Summary& s : all) {
    s.dedupe = std::exp(s.dedupe / static_cast<double>(s.snapshots));
    const auto ok = static_cast<double>(s.snapshots - s.refused - s.invalid);
    if (ok == 0) continue;
    for (double* ratio : {&s.speedup, &s.share_of_bound, &s.share_of_datasheet}) *ratio = std::exp(*ratio / ok);
    for (double* mean : {&s.time_us, &s.plan_us, &s.hbm_bytes, &s.idle_launch, &s.idle_underfill, &s.idle_tail, &s.idle_merge}) {
      *mean /= ok;
    }
  }
  return all;
}

std::string render(const std::vector<ReportRow>& rows, const CompareOptions& options, bool all_rows) {
  const std::vector<Summary> all = summarise(rows);
  std::string text;
  std::vector<const Summary*> heads;  // first summary of each (input, device)
  for (const Summary& s : all) {
    const bool seen = std::any_of(heads.begin(), heads.end(),
                                  [&](const Summary* h) { return h->input == s.input && h->device == s.device; });
    if (!seen) heads.push_back(&s);
  }
  for (const Summary* head : heads) {
    std::vector<Summary> block;
    for (const Summary& s : all) {
      if (s.input == head->input && s.device == head->device) block.push_back(s);
    }
    std::stable_sort(block.begin(), block.end(), [](const Summary& a, const Summary& b) {
      if ((a.time_us > 0) != (b.time_us > 0)) return a.time_us > 0;
      return a.speedup > b.speedup;
    });
    text += fmt::format("{} on {}, heads {}, {} kernels, {}dedupe {:.2f}\n", head->input, head->device, options.heads.text,
                        rows.front().kernels, head->snapshots > 1 ? fmt::format("mean of {} snapshots, ", head->snapshots) : "",
                        head->dedupe);
    Table table({"strategy", "time", "vs flash", "of bound", "HBM", "plan", "bound by", ""},
                {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right, Align::left, Align::left});
    for (std::size_t i = 0; i < block.size(); ++i) table.row(summary_cells(block[i], i == 0 && block[i].time_us > 0));
    text += table.finish({0});
    text += verdict(block, options);
    if (all_rows) {
      for (const ReportRow& row : rows) {
        if (row.input != head->input || row.device != head->device) continue;
        text += fmt::format("    #{:<4} {:<16} {:>10} {}\n", row.snapshot, row.strategy,
                            row.time_us ? core::time_text(*row.time_us) : status_name(row.status),
                            row.time_us ? fmt::format("{:.2f}x, {} of the bound", row.speedup_vs_flash_decoding.value_or(1.0),
                                                      percent(*row.share_of_bound))
                                        : row.why);
      }
    }
    text += "\n";
  }
  return text;
}

}  // namespace espalier::apps
