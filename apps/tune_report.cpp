// What `espalier tune` says: each strategy's regret against the best plan known, by input and over all of them.
#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "apps/terminal.h"
#include "apps/tune.h"
#include "core/json.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string exact_text(const TuneResult& result) {
  if (!result.exact) return "";
  const sim::ExactResult& exact = *result.exact;
  return fmt::format("  exact search: {} ({} into boxes, {} ruled out whole, {} plans simulated)\n",
                     !exact.complete ? "cut short, nothing is proven"
                     : exact.best    ? "the best known is the best of its space"
                                     : "no plan of its space is faster than the best known",
                     core::counted(exact.covers, "partition"), exact.covers_pruned, exact.plans);
}

std::string render_one(const TuneResult& result, const TuneOptions& options) {
  std::vector<TuneRow> rows = result.rows;
  std::stable_sort(rows.begin(), rows.end(), [](const TuneRow& a, const TuneRow& b) {
    return a.time_us && (!b.time_us || *a.time_us < *b.time_us);
  });
  Table table({"strategy", "time", "regret", "of bound", ""},
              {Align::left, Align::right, Align::right, Align::right, Align::left});
  table.row({"(best known)", core::time_text(result.best_us), "0.0 %",
             fmt::format("{:.0f} %", 100 * result.lower_bound_us / result.best_us),
             result.best_found ? fmt::format("found in {} iterations", result.iterations)
                               : fmt::format("{} iterations found none faster", result.iterations)});
  for (const TuneRow& row : rows) {
    if (row.time_us) {
      table.row({row.strategy, core::time_text(*row.time_us), percent(row.regret),
                 fmt::format("{:.0f} %", 100 * result.lower_bound_us / *row.time_us), ""});
    } else {
      table.row({row.strategy, "refused", "", "", row.why});
    }
  }
  return fmt::format("{} snapshot {} on {}, heads {}, {}, dedupe {:.2f}\n{}{}\n", result.input, result.snapshot,
                     options.compare.devices.front().name, options.compare.heads.text,
                     core::counted(result.requests, "request"), result.dedupe, table.finish({0}), exact_text(result));
}

struct RegretSum {
  double sum = 0, worst = 0;
  std::string worst_input;
  std::size_t count = 0, refused = 0, wins = 0;
  double mean() const { return sum / static_cast<double>(count); }
};

std::string render_all(const std::vector<TuneResult>& results, const TuneOptions& options) {
  std::vector<std::string> names;
  std::map<std::string, RegretSum> sums;
  for (const TuneResult& result : results) {
    double least = -1;
    for (const TuneRow& row : result.rows) {
      if (row.time_us) least = least < 0 ? row.regret : std::min(least, row.regret);
    }
    for (const TuneRow& row : result.rows) {
      if (std::find(names.begin(), names.end(), row.strategy) == names.end()) names.push_back(row.strategy);
      RegretSum& sum = sums[row.strategy];
      if (!row.time_us) {
        ++sum.refused;
        continue;
      }
      ++sum.count;
      sum.sum += row.regret;
      sum.wins += row.regret == least;
      if (row.regret < sum.worst) continue;
      sum.worst = row.regret;
      sum.worst_input = fmt::format("{}#{}", result.input, result.snapshot);
    }
  }
  std::stable_sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    const RegretSum &x = sums[a], &y = sums[b];
    return x.count > 0 && (y.count == 0 || x.mean() < y.mean());
  });
  Table table({"strategy", "mean regret", "worst", "on", "fastest of", "refused"},
              {Align::left, Align::right, Align::right, Align::left, Align::right, Align::right});
  for (const std::string& name : names) {
    const RegretSum& s = sums[name];
    table.row({name, s.count == 0 ? "-" : percent(s.mean()), s.count == 0 ? "-" : percent(s.worst), s.worst_input,
               fmt::format("{}", s.wins), s.refused == 0 ? "" : fmt::format("{}", s.refused)});
  }
  return fmt::format("{} on {}, heads {}: regret against the best plan known\n{}",
                     core::counted(static_cast<std::int64_t>(results.size()), "input"),
                     options.compare.devices.front().name, options.compare.heads.text, table.finish());
}

}  // namespace

std::string render_tuning(const std::vector<TuneResult>& results, const TuneOptions& options, bool each) {
  std::string text;
  if (each || results.size() == 1) {
    for (const TuneResult& result : results) text += render_one(result, options);
  }
  if (results.size() > 1) text += render_all(results, options);
  return text;
}

std::string write_tuning(const std::vector<TuneResult>& results, const TuneOptions& options,
                         const std::string& command) {
  core::JsonWriter w;
  w.begin_object().field("schema", "tune/1").key("environment").begin_object();
  w.field("program", "espalier " ESPALIER_VERSION).field("command", command).field("times", "simulated").end_object();
  w.field("device", options.compare.devices.front().name).field("heads", options.compare.heads.text);
  w.key("inputs").begin_array();
  for (const TuneResult& result : results) {
    w.begin_object().field("input", result.input).field("snapshot", result.snapshot).field("requests", result.requests);
    w.field("dedupe", result.dedupe)
        .field("lower_bound_us", result.lower_bound_us)
        .field("iterations", result.iterations);
    w.field("best_us", result.best_us).field("best_found", result.best_found);
    if (result.exact) {
      w.key("exact")
          .begin_object()
          .field("complete", result.exact->complete)
          .field("improved", result.exact->best.has_value());
      w.field("covers", result.exact->covers)
          .field("covers_pruned", result.exact->covers_pruned)
          .field("plans", result.exact->plans)
          .end_object();
    }
    w.key("strategies").begin_array();
    for (const TuneRow& row : result.rows) {
      w.begin_object().field("strategy", row.strategy).field("status", row.time_us ? "ok" : "refused");
      w.key("time_us");
      row.time_us ? w.value(*row.time_us) : w.null();
      w.key("regret");
      row.time_us ? w.value(row.regret) : w.null();
      w.field("why", row.why).end_object();
    }
    w.end_array().end_object();
  }
  return w.end_array().end_object().finish();
}

}  // namespace espalier::apps
