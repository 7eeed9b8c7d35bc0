// Tables in order, expressions that pick rows, and where cards stand.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "small_session.h"
#include "viz/explore/kept_scene.h"
#include "viz/explore/regions.h"
#include "viz/explore/row_filter.h"
#include "viz/explore/sorted_table.h"
#include "viz/explore/view_parts.h"
#include "viz/scene/svg.h"

namespace espalier::viz {
namespace {

TEST(SortedTable, SortsNumbersBySizeAndKeepsTies) {
  DataTable data{{"id", "tokens", "kind"}, {{"0", "9", "b"}, {"1", "100", "a"}, {"2", "9", "a"}}};
  EXPECT_EQ(sort_table(data, 1, true).order, (std::vector<std::int32_t>{1, 0, 2}));
  EXPECT_EQ(sort_table(data, 1, false).order, (std::vector<std::int32_t>{0, 2, 1}));
  EXPECT_EQ(sort_table(data, 2, false).order, (std::vector<std::int32_t>{1, 2, 0}));
  EXPECT_EQ(sort_table(data, -1, true).order, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_FALSE(sort_table(data, 0, true).numeric[2]);
}

TEST(RowFilter, ComparesNumbersAndFindsWords) {
  const DataTable data{{"task", "kind", "kv_tokens", "first_node"},
                       {{"0", "attend", "64", "3"}, {"1", "attend", "4096", "12"}, {"2", "padding", "0", ""}}};
  const auto ids = [&](std::string_view filter) {
    std::string out;
    const std::vector<bool> matching = matching_rows(data, filter);
    for (std::size_t i = 0; i < matching.size(); ++i) out += matching[i] ? std::to_string(i) : "";
    return out;
  };
  EXPECT_EQ(ids(""), "012");
  EXPECT_EQ(ids("kv>64"), "1");
  EXPECT_EQ(ids("kv>=64 kind=attend"), "01");
  EXPECT_EQ(ids("node:12"), "1");
  EXPECT_EQ(ids("kind!=attend"), "2");
  EXPECT_EQ(ids("pad"), "2");
  EXPECT_EQ(ids("tokens<=64.0"), "02");
  EXPECT_EQ(ids("nothing=3"), "");
  EXPECT_EQ(ids("kv>"), "");
  EXPECT_EQ(sort_table(data, 2, true, "kind=attend").order, (std::vector<std::int32_t>{1, 0}));
}

TEST(Wrapped, KeepsNumbersWithWhatTheyCount) {
  const WidthOf letters = [](const std::string& line) { return static_cast<double>(line.size()); };
  EXPECT_EQ(wrapped("takes 12.3 us on it", 10, letters), (std::vector<std::string>{"takes", "12.3 us on", "it"}));
  EXPECT_EQ(wrapped("a difference of 1.5 %.", 12, letters), (std::vector<std::string>{"a difference", "of 1.5 %."}));
  EXPECT_EQ(wrapped("it is (12.3 us) long", 10, letters), (std::vector<std::string>{"it is", "(12.3 us)", "long"}));
  EXPECT_EQ(wrapped("moves by -3 us or +4 us", 11, letters),
            (std::vector<std::string>{"moves by", "-3 us or", "+4 us"}));
  EXPECT_EQ(wrapped("tiles of 16 32 64 rows", 14, letters), (std::vector<std::string>{"tiles of 16 32", "64 rows"}));
  EXPECT_EQ(fitted("espalier", 5, letters), "es…") << "three bytes";
}

TEST(Wrapped, BreaksBehindNamesThatEndInDigits) {
  const WidthOf letters = [](const std::string& line) { return static_cast<double>(line.size()); };
  EXPECT_EQ(wrapped("a1 b2 c3 d4", 5, letters), (std::vector<std::string>{"a1 b2", "c3 d4"}));
  EXPECT_EQ(wrapped("on an h100 it takes", 10, letters), (std::vector<std::string>{"on an h100", "it takes"}));
  EXPECT_EQ(wrapped("hits in L2 are free", 10, letters), (std::vector<std::string>{"hits in L2", "are free"}));
  EXPECT_EQ(wrapped("1 2 3 4 5", 3, letters), (std::vector<std::string>{"1 2", "3 4", "5"}));
}

TEST(Wrapped, BreaksBehindANumberRatherThanOverflow) {
  const WidthOf letters = [](const std::string& line) { return static_cast<double>(line.size()); };
  EXPECT_EQ(wrapped("all 1024 requests", 8, letters), (std::vector<std::string>{"all 1024", "requests"}));
}

TEST(Regions, OfSmallerWindowsAreThoseOfTheLeast) {
  EXPECT_EQ(regions_of({400, 300}).insight.x, regions_of(kLeastWindow).insight.x);
  EXPECT_EQ(regions_of({400, 300}).wide.h, regions_of(kLeastWindow).wide.h);
}

TEST(Figures, SayDifferencesInTheRightUnits) {
  Settings settings;
  const Outcome outcome = compute(settings, {});
  const std::string text = dump(summary_view(outcome, {900, 70}));
  EXPECT_NE(text.find(" points"), std::string::npos) << text;
  EXPECT_EQ(text.find("+-"), std::string::npos);
  const double ratio = outcome.side(SideId::b).us() / outcome.side(SideId::a).us();
  EXPECT_NE(text.find(fmt::format("{:.2f}×", ratio)), std::string::npos)
      << "as the verdict has it: " << verdict_of(outcome).front();
  EXPECT_NE(verdict_of(outcome).front().find(fmt::format("{:.2f}×", ratio)), std::string::npos);
  EXPECT_NE(text.find(fmt::format("Copies of {} tasks", outcome.side(SideId::a).plan->tasks.size())),
            std::string::npos);
  EXPECT_EQ(signed_text(-13.24, 1), "−13.2");
  EXPECT_EQ(signed_text(2, 0), "+2");
  EXPECT_EQ(readable("memory latency -10 %"), "memory latency −10 %");
}

TEST(Regions, NeverOverlapAndStayInside) {
  for (double w = kLeastWindow.width; w < 3000; w += 170) {
    for (double h = kLeastWindow.height; h < 2000; h += 130) {
      const Regions r = regions_of({w, h});
      const Area all[] = {r.header, r.controls, r.summary, r.forest, r.cover, r.wide, r.facts, r.insight};
      for (const Area& a : all) {
        ASSERT_GT(a.w, 100);
        ASSERT_GT(a.h, 40);
        ASSERT_LE(a.x + a.w, w + 1e-9);
        ASSERT_LE(a.y + a.h, h + 1e-9);
        for (const Area& b : all) {
          if (&a == &b) continue;
          ASSERT_TRUE(a.x + a.w <= b.x + 1e-9 || b.x + b.w <= a.x + 1e-9 || a.y + a.h <= b.y + 1e-9 ||
                      b.y + b.h <= a.y + 1e-9)
              << w << "x" << h;
        }
      }
    }
  }
}

TEST(KeptScene, IsMadeAnewOnlyWhenWhatItShowsChanges) {
  Session session = small_session();
  const auto outcome = std::make_shared<const Outcome>(compute(session.settings, {}));
  const ViewSize size{300, 200};
  KeptScene kept;
  int made = 0;
  const auto look = [&](const std::shared_ptr<const Outcome>& of) {
    const Scene& scene = kept.get(of, plane_key(session, SideId::a, size), [&] {
      ++made;
      return cover_view(session, *of, SideId::a, size);
    });
    EXPECT_EQ(dump(scene), dump(cover_view(session, *of, SideId::a, size))) << made;
  };
  look(outcome);
  look(outcome);
  perform(session, Zoom{Plane::time, 0.5, 0.5, 0.5}, *outcome);
  perform(session, ShowPanel{Panel::tasks}, *outcome);
  look(outcome);
  EXPECT_EQ(made, 1);
  for (const Action& action :
       {Action(Zoom{Plane::forest, 0.5, 0.5, 0.5}), Action(Select{{ItemKind::task, 3}, SideId::a}),
        Action(SetColourBy{ColourBy::node}), Action(Isolate{Paint::merge})}) {
    perform(session, action, *outcome);
    const int before = made;
    look(outcome);
    EXPECT_EQ(made, before + 1);
  }
  look(std::make_shared<const Outcome>(compute(session.settings, {})));
  EXPECT_EQ(made, 6) << "another plan";
}

TEST(KeptScene, OfTimeIsMadeAnewOnlyWhenItsTimelinesChange) {
  Session session = small_session();
  const auto outcome = std::make_shared<const Outcome>(compute(session.settings, {}));
  ViewSize size{500, 240};
  KeptScene kept;
  int made = 0;
  const auto look = [&] {
    const Scene& scene = kept.get(outcome, time_key(session, size), [&] {
      ++made;
      return timeline_view(session, *outcome, size);
    });
    EXPECT_EQ(dump(scene), dump(timeline_view(session, *outcome, size))) << made;
  };
  look();
  for (const Action& action : {Action(Zoom{Plane::forest, 0.5, 0.5, 0.5}), Action(ShowInsight{Insight::helps}),
                               Action(EditSide{SideId::b}), Action(Filter{"kv>1"})}) {
    perform(session, action, *outcome);
  }
  look();
  EXPECT_EQ(made, 1);
  const std::vector<Action> actions = {
      Zoom{Plane::time, 0.5, 0.5, 0.5},       Measure{Span1{0.4, 0.5}},    Select{{ItemKind::task, 3}, SideId::a},
      Select{{ItemKind::task, 3}, SideId::b}, SetColourBy{ColourBy::node}, Isolate{Paint::merge}};
  for (const Action& action : actions) {
    perform(session, action, *outcome);
    const int before = made;
    look();
    EXPECT_EQ(made, before + 1) << action.index();
  }
  size.height = 300;
  look();
  EXPECT_EQ(made, 2 + static_cast<int>(actions.size()));
}

}  // namespace
}  // namespace espalier::viz
