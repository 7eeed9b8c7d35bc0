// Profiled cost tables: files, interpolation, what lies outside the grid, what is refused.
#include "costmodel/cost_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/rng.h"

namespace espalier::costmodel {
namespace {

using ::testing::HasSubstr;
using traces::parse_heads;

CostTable small_table() {
  CostTable table;
  table.device = "h100-sxm";
  table.device_hash = device_hash(find_device("h100-sxm"));
  table.heads = parse_heads("32/8/128");
  table.source = "simulated";
  table.tasks.push_back({"espalier_mma_m16", {4, 8, 16}, {64, 128, 256}, {2, 3, 5, 2.5, 4, 7, 4, 6, 10}});
  table.reductions.push_back({"espalier_reduce", {1, 4}, {2, 8}, {1, 2, 1.5, 4.5}});
  return table;
}

std::unique_ptr<CostModel> model_of(const CostTable& table) {
  return make_table_model(table, "t.json", find_device("h100-sxm"), parse_heads("32/8/128"));
}

Cost cost(const CostModel& model, std::int32_t queries, std::int64_t tokens) {
  TaskShape shape;
  shape.queries = queries;
  shape.heads = 4;
  shape.kv_tokens = tokens;
  return model.task(shape, find_kernel("espalier_mma_m16"));
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::bad_input) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

/// The text of small_table() with one piece replaced.
std::string edited(const std::string& from, const std::string& to) {
  std::string text = write_cost_table(small_table());
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(CostTable, ReadsBackWhatItWrites) {
  const std::string text = write_cost_table(small_table());
  EXPECT_EQ(text.find("{\n  \"schema\": \"cost_table/1\""), 0U);
  const CostTable table = read_cost_table(text, "t.json");
  EXPECT_EQ(write_cost_table(table), text);
  EXPECT_EQ(table.device_hash, small_table().device_hash);
  EXPECT_EQ(table.tasks[0].us, small_table().tasks[0].us);
  EXPECT_EQ(table.reductions[0].columns, (std::vector<std::int64_t>{2, 8}));
}

TEST(CostTable, InterpolatesBetweenPoints) {
  const auto model = model_of(small_table());
  EXPECT_EQ(cost(*model, 1, 64).us, 2);
  EXPECT_EQ(cost(*model, 4, 256).us, 10);
  EXPECT_NEAR(cost(*model, 1, 96).us, 2.5, 1e-12);
  EXPECT_NEAR(cost(*model, 1, 192).us, 4, 1e-12);
  EXPECT_NEAR(cost(*model, 3, 128).us, 5, 1e-12);  // 12 rows: half way from 8 to 16
  EXPECT_NEAR(cost(*model, 3, 192).us, (5.5 + 8) / 2, 1e-12);
  EXPECT_FALSE(cost(*model, 3, 192).extrapolated);
  const KernelConfig& reduce = our_reduce_kernel();
  EXPECT_NEAR(model->reduction({.rows = 1, .heads = 4, .inputs = 5}, reduce).us, 3, 1e-12);
  EXPECT_NEAR(model->reduction({.rows = 2, .heads = 4, .inputs = 2}, reduce).us, 3, 1e-12);  // two CTAs in a row
}

TEST(CostTable, MarksWhatLiesOutsideTheGrid) {
  const auto model = model_of(small_table());
  EXPECT_TRUE(cost(*model, 1, 10).extrapolated);
  EXPECT_EQ(cost(*model, 1, 10).us, 2);
  EXPECT_TRUE(cost(*model, 1, 257).extrapolated);
  EXPECT_NEAR(cost(*model, 1, 512).us, 9, 1e-12);  // the last slope goes on
  EXPECT_FALSE(cost(*model, 1, 256).extrapolated);
  EXPECT_FALSE(cost(*model, 1, 64).extrapolated);
  EXPECT_TRUE(model->reduction({.rows = 1, .heads = 4, .inputs = 9}, our_reduce_kernel()).extrapolated);
  EXPECT_FALSE(model->reduction({.rows = 1, .heads = 4, .inputs = 8}, our_reduce_kernel()).extrapolated);
}

TEST(CostTable, IsMonotoneEvenWhenMeasurementsAreNot) {
  core::Rng rng(1);
  for (int trial = 0; trial < 100; ++trial) {
    CostTable table = small_table();
    for (double& us : table.tasks[0].us) us = 0.5 + 10 * rng.uniform();
    const auto model = model_of(table);
    const auto queries = static_cast<std::int32_t>(rng.integer(1, 4));
    double before = 0;
    for (std::int64_t tokens = 0; tokens < 600; tokens += rng.integer(1, 20)) {
      const double us = cost(*model, queries, tokens).us;
      EXPECT_GE(us, before - 1e-12);
      EXPECT_GT(us, 0);
      before = us;
    }
  }
}

TEST(CostTable, RefusesAnotherDeviceOrOtherHeads) {
  EXPECT_THAT(
      error_of([] { make_table_model(small_table(), "t.json", find_device("a100-80"), parse_heads("32/8/128")); }),
      HasSubstr("t.json: expected a cost table of a100-80, got one of h100-sxm"));
  EXPECT_THAT(
      error_of([] { make_table_model(small_table(), "t.json", find_device("h100-sxm"), parse_heads("32/32/128")); }),
      HasSubstr("expected a cost table for 32/32/128"));
  CostTable table = small_table();
  table.heads.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_THAT(error_of([&] { model_of(table); }), HasSubstr("over fp8_e4m3"));
  table = small_table();
  table.device_hash = 1;
  EXPECT_THAT(error_of([&] { model_of(table); }), HasSubstr("made with others"));
  table.device_hash.reset();  // measured: no model's numbers behind it
  EXPECT_NE(model_of(table), nullptr);
}

TEST(CostTable, RefusesKernelsItDoesNotCover) {
  const auto model = model_of(small_table());
  TaskShape shape;
  EXPECT_THAT(error_of([&] { model->task(shape, find_kernel("espalier_mma_m64")); }),
              HasSubstr("tasks on kernel espalier_mma_m64 (query tile 64), got only those on espalier_mma_m16"));
  EXPECT_THAT(error_of([&] { model->reduction({}, find_kernel("fa2_combine")); }),
              HasSubstr("merges on kernel fa2_combine"));
  CostTable low = small_table();
  low.tasks[0] = {"espalier_mma_m16", {4, 8}, {64}, {1, 2}};
  EXPECT_THAT(error_of([&] { model_of(low)->task(shape, find_kernel("espalier_mma_m16")); }),
              HasSubstr("up to 16 query rows (its tile is 16), got up to 8"));
}

TEST(CostTable, NamesWhatIsWrongInAFile) {
  const auto message = [](const std::string& text) { return error_of([&] { read_cost_table(text, "t.json"); }); };
  EXPECT_THAT(message(edited("[64,128,256]", "[64,256,128]")),
              HasSubstr("tasks[0].kv_tokens: expected points in rising order, got 128 after 256"));
  EXPECT_THAT(message(edited("[64,128,256]", "[64,64,256]")), HasSubstr("rising order"));
  EXPECT_THAT(message(edited("[64,128,256]", "[]")), HasSubstr("one point or more"));
  EXPECT_THAT(message(edited("[64,128,256]", "[0,128,256]")), HasSubstr("kv_tokens"));
  EXPECT_THAT(message(edited("[4,8,16]", "[4,8]")), HasSubstr("expected 2 x 3 times, got 9"));
  EXPECT_THAT(message(edited("[2,3,5,", "[2,null,5,")), HasSubstr("us[1]"));
  EXPECT_THAT(message(edited("[2,3,5,", "[2,NaN,5,")), HasSubstr("t.json"));
  EXPECT_THAT(message(edited("[2,3,5,", "[2,0,5,")), HasSubstr("us[1]"));
  EXPECT_THAT(message(edited("[2,3,5,", "[2,-3,5,")), HasSubstr("us[1]"));
  EXPECT_THAT(message(edited("[2,3,5,", "[2,1e300,5,")), HasSubstr("us[1]"));
  EXPECT_THAT(message(edited("cost_table/1", "cost_table/2")), HasSubstr("schema"));
  EXPECT_THAT(message(edited("\"source\": \"simulated\"", "\"source\": \"guessed\"")),
              HasSubstr("simulated or measured"));
  EXPECT_THAT(message(edited("\"32/8/128\"", "\"32/7/128\"")), HasSubstr("heads"));
  EXPECT_THAT(message(edited("\"bf16\"", "\"bf17\"")), HasSubstr("bf17"));
  EXPECT_THAT(message(edited("\"device_hash\": \"", "\"device_hash\": \"z")), HasSubstr("16 hex digits"));
  EXPECT_THAT(message(edited("\"source\"", "\"sauce\"")), HasSubstr("source"));
  EXPECT_THAT(message(edited("\"inputs\"", "\"outputs\"")), HasSubstr("reductions[0]"));
  CostTable twice = small_table();
  twice.tasks.push_back(twice.tasks[0]);
  EXPECT_THAT(message(write_cost_table(twice)), HasSubstr("a second grid of espalier_mma_m16"));
}

TEST(CostTable, SurvivesDamagedFiles) {
  const std::string text = write_cost_table(small_table());
  int accepted = 0;
  const auto feed = [&](const std::string& damaged) {
    try {
      const CostTable table = read_cost_table(damaged, "t.json");
      ++accepted;
      const auto model = make_table_model(table, "t.json", find_device("h100-sxm"), parse_heads("32/8/128"));
      EXPECT_GT(cost(*model, 2, 100).us, 0);
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::bad_input);
    }
  };
  for (std::size_t cut = 0; cut + 2 < text.size(); ++cut) feed(text.substr(0, cut));
  EXPECT_EQ(accepted, 0);
  core::Rng rng(2);
  for (int trial = 0; trial < 4000; ++trial) {
    std::string damaged = text;
    const int edits = static_cast<int>(rng.integer(1, 3));
    for (int e = 0; e < edits; ++e) {
      const auto at = static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(damaged.size()) - 1));
      constexpr std::string_view kBytes = "0123456789-.e,[]{}\":x ";
      damaged[at] = kBytes[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(kBytes.size()) - 1))];
    }
    feed(damaged);
  }
  EXPECT_GT(accepted, 50);
}

}  // namespace
}  // namespace espalier::costmodel
