"""Tables: what the columns become, how rows are split, streams, and what is wrong with a file."""

import json
import re

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tinynn.data import CSVDataLoaderFactory, Preprocessing, TableEncoding
from tinynn.errors import DataError, OptionError

pandas = pytest.importorskip("pandas")

N = 200


def homes(n=N, seed=0):
    rng = np.random.default_rng(seed)
    table = pandas.DataFrame(
        {
            "size": rng.uniform(30, 150, n).round(1),
            "age": rng.integers(0, 80, n).astype(float),
            "kind": rng.choice(["flat", "house", "villa"], n),
            "sunny": rng.choice(["yes", "no"], n),
            "built": pandas.Timestamp("2001-03-04")
            + pandas.to_timedelta(7 * rng.permutation(n), "D"),
            "town": rng.choice([f"town {i}" for i in range(20)], n),
        }
    )
    table.loc[::10, "age"] = np.nan
    table.loc[5::40, "kind"] = None
    table["sold"] = np.where(table["size"] + rng.normal(0, 9, n) > 80, "yes", "no")
    table["price"] = 3 * table["size"] + rng.normal(0, 5, n)
    return table


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "homes.csv"
    homes().to_csv(path, index=False)
    return path


def rows_of(loader):
    X, y = zip(*loader, strict=True)
    return np.concatenate(X), np.concatenate(y)


def write(tmp_path, text, name="table.csv", **options):
    path = tmp_path / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, **options)
    return path


# ---- what the columns become ---------------------------------------------------------------------

USED = ["size", "age", "kind"]


def test_numbers_and_categories_are_what_scikit_learn_makes_of_the_training_rows(path):
    data = CSVDataLoaderFactory(path, "sold", USED, order="built", dtype=np.float64)
    table = homes().sort_values("built")
    train, test = table[: N - 80], table[N - 40 :]
    numbers = StandardScaler().fit(train[["size", "age"]])
    filling = SimpleImputer(strategy="median", add_indicator=True)
    filling.fit(numbers.transform(train[["size", "age"]]))
    onehot = OneHotEncoder(sparse_output=False).fit(train[["kind"]].fillna("(missing)"))
    expected = np.hstack(
        [
            filling.transform(numbers.transform(test[["size", "age"]])),
            onehot.transform(test[["kind"]].fillna("(missing)"))[:, [1, 2, 3, 0]],
        ]
    )
    X, y = rows_of(data.test_loader)
    np.testing.assert_allclose(X, expected, rtol=1e-10, atol=1e-12)
    assert [data.class_names[index] for index in y] == test["sold"].tolist()
    assert data.feature_names == (
        *("size", "age", "age is missing"),
        *("kind = flat", "kind = house", "kind = villa", "kind = (missing)"),
    )


def test_a_boolean_is_zero_or_one_and_a_date_lies_on_circles(path):
    data = CSVDataLoaderFactory(path, "sold", {"built": "date", "sunny": "boolean"}, scale=False)
    new = homes().iloc[:1].assign(built="1971-01-01T12:00", sunny="TRUE")
    row = dict(zip(data.feature_names, data.prepare(new)[0].tolist(), strict=True))
    assert row["sunny"] == 1
    assert row["built, days"] == 365.5
    angle = 2 * np.pi * 365.5 / 365.2425
    np.testing.assert_allclose(
        [row["built, year, sine"], row["built, year, cosine"]],
        [np.sin(angle), np.cos(angle)],
        rtol=1e-5,
    )
    # All dates of the file are the same day of the week, at midnight: these parts say nothing.
    assert [name for name in row if name.startswith("built")] == [
        "built, days",
        "built, year, sine",
        "built, year, cosine",
    ]


def test_later_gaps_and_unknown_categories_are_handled_by_the_stated_rule(path):
    data = CSVDataLoaderFactory(path, "sold", [*USED, "sunny"])
    new = pandas.DataFrame(
        {"size": ["", "80"], "age": [None, "3"], "kind": ["castle", None], "sunny": ["no", None]}
    )
    first, second = (
        dict(zip(data.feature_names, row.tolist(), strict=True)) for row in data.prepare(new)
    )
    assert sum(first[name] for name in first if name.startswith("kind")) == 0
    assert second["kind = (missing)"] == 1
    assert (first["age is missing"], second["age is missing"]) == (1, 0)
    median = pandas.Series(data.preprocessing.transform(homes())[:, 0]).median()
    assert abs(first["size"] - median) < 0.2  # about the median, as the training rows have it
    assert second["sunny"] in (0, 1)


def test_rare_categories_share_a_column_with_later_ones(path):
    data = CSVDataLoaderFactory(path, "sold", ["town"], max_categories=5)
    assert data.feature_shape == (6,)
    assert data.feature_names[-1] == "town = (other)"
    assert data.prepare({"town": ["nowhere"]})[0].tolist() == [0, 0, 0, 0, 0, 1]
    assert "15 rarer ones as (other)" in data.summary()


def test_numbers_as_they_are_written_elsewhere(tmp_path):
    lines = [f"{i}.{i:03d},5;{'ja' if i % 2 else 'nein'}" for i in range(1, 31)]
    path = write(tmp_path, "Größe;Verkauft\n" + "\n".join(lines), encoding="cp1252")
    options = {"decimal": ",", "thousands": ".", "encoding": "cp1252", "scale": False}
    data = CSVDataLoaderFactory(path, "Verkauft", **options)
    assert data.class_names == ("ja", "nein")
    assert data.prepare({"Größe": ["12.345,5"]})[0, 0] == 12345.5
    assert data.train_loader.X.min() >= 1001.5
    with pytest.raises(DataError, match=r"not in the encoding utf-8.*encoding='cp1252'"):
        CSVDataLoaderFactory(path, "Verkauft")


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (["1,5", "2,25", "3,0"], "decimal=','"),
        (["1.000,5", "2.000,25", "3,0"], "decimal=',' and thousands='.'"),
        (["1,000", "2,000", "30"], "thousands=','"),
        (["1,000.5", "2,000.25", "30"], "thousands=','"),
    ],
)
def test_numbers_in_another_form_are_recognized(tmp_path, values, hint):
    lines = [f"{values[i % 3]};{i % 2}" for i in range(30)]
    path = write(tmp_path, "size;sold\n" + "\n".join(lines))
    with pytest.raises(DataError, match=re.escape(hint)):
        CSVDataLoaderFactory(path, "sold")


def test_one_word_among_numbers_is_a_mistake_and_no_category(tmp_path):
    lines = [f"{3 * i},{i % 2}" for i in range(30)]
    lines[17] = "unknown,1"
    path = write(tmp_path, "size,sold\n" + "\n".join(lines))
    with pytest.raises(DataError, match=r"row 18 below the header has 'unknown'.*missing_values"):
        CSVDataLoaderFactory(path, "sold")
    data = CSVDataLoaderFactory(path, "sold", missing_values=["unknown"])
    assert "size" in data.feature_names
    data = CSVDataLoaderFactory(path, "sold", {"size": "category"}, max_categories=4)
    assert data.feature_shape == (5,)


def test_gaps_alone_may_say_something():
    table = homes().assign(known=[1.0, np.nan] * (N // 2), agreed=["yes", None] * (N // 2))
    data = CSVDataLoaderFactory(table, "sold", ["known", "agreed"])
    assert data.feature_names == ("known", "agreed", "known is missing", "agreed is missing")
    new = data.prepare({"known": ["1", ""], "agreed": ["", "yes"]})
    assert new.tolist() == [[0, 1, 0, 1], [0, 1, 1, 0]]


@pytest.mark.parametrize("stream", [False, True])
def test_numbers_beyond_float32_are_named(tmp_path, stream):
    path = write(tmp_path, "size,sold\n" + "1.5,yes\n1e308,no\n" * 20)
    with pytest.raises(DataError, match="row 2 below the header has '1e308'"):
        CSVDataLoaderFactory(path, "sold", stream=stream)


@pytest.mark.parametrize(
    ("kind", "value", "match"),
    [
        ("number", "old", "holds numbers, but row 2 below the header has 'old'"),
        ("number", "inf", "has 'inf'"),
        ("boolean", "perhaps", "holds yes and no.*has 'perhaps'"),
        ("date", "yesterday", "holds dates as 2024-05-31.*has 'yesterday'"),
    ],
)
def test_a_later_value_of_another_kind_is_named(path, kind, value, match):
    name = {"number": "size", "boolean": "sunny", "date": "built"}[kind]
    data = CSVDataLoaderFactory(path, "sold", {"built": "date"})
    new = homes(3).astype(object)
    new.loc[1, name] = value
    with pytest.raises(DataError, match=match):
        data.prepare(new)


def test_the_summary_says_what_became_of_each_column(tmp_path):
    table = homes().assign(id=range(N), void=np.nan, same=7, note=[f"n{i}" for i in range(N)])
    table.loc[:4, "sold"] = None
    table.to_csv(tmp_path / "all.csv")  # with an index, which has no name
    data = CSVDataLoaderFactory(tmp_path / "all.csv", "sold", {"price": "leave out"})
    lines = data.summary().splitlines()
    found = {line.split("  ")[0]: line for line in lines[2:]}
    assert set(found) == {"column 0", *table.columns}
    for name, text in {
        "column 0": "left out: it has no name",
        "id": "left out: it only counts the rows",
        "void": "left out: no row has a value",
        "same": "left out: every training row has 7",
        "note": "different texts in .* rows are no categories",
        "built": "for dates: columns={'built': 'date'}",
        "price": "left out: as asked for",
        "age": "mean .*, deviation .*; gaps as .*, and marked",
        "kind": r"one of 3: flat, house, villa; gaps as \(missing\); new ones as zeros",
        "sunny": "0 or 1; later gaps as",
        "sold": "2 classes: no, yes; 5 rows without one left out",
    }.items():
        assert re.search(text, found[name]), found[name]
    assert data.n_left_out == 5


# ---- the target ----------------------------------------------------------------------------------


def test_the_task_follows_from_the_target(path):
    assert CSVDataLoaderFactory(path, "price", USED).n_classes is None
    assert CSVDataLoaderFactory(path, "kind", ["size"]).class_names == ("flat", "house", "villa")
    many = homes().assign(age=range(N))  # more than 20 whole numbers
    data = CSVDataLoaderFactory(many, "age", USED[:1])
    assert data.n_classes is None
    few = homes().assign(age=np.arange(N) % 12)
    assert CSVDataLoaderFactory(few, "age", USED[:1]).class_names[-2:] == ("10", "11")
    data = CSVDataLoaderFactory(few, "age", USED[:1], task="regression")
    assert data.n_classes is None
    _, y = rows_of(data.train_loader)
    raw = data.preprocessing.in_raw_units(y)
    assert set(raw.round(3).ravel()) == set(range(12))


def test_a_dataframe_of_native_types_is_like_its_file(path, tmp_path):
    ours = CSVDataLoaderFactory(path, "price", {"built": "date"})
    theirs = CSVDataLoaderFactory(homes(), "price", {"built": "date"})
    for one, two in zip(rows_of(ours.test_loader), rows_of(theirs.test_loader), strict=True):
        np.testing.assert_array_equal(one, two)


def test_pandas_own_types_are_read_too():
    n = 60
    table = pandas.DataFrame(
        {
            "whole": pandas.array([*range(0, 3 * n - 3, 3), None], dtype="Int64"),
            "flag": pandas.array([None, *(i % 3 == 0 for i in range(n - 1))], dtype="boolean"),
            "kind": pandas.Categorical([None, *(["x", "y", "z"] * n)[: n - 1]]),
            "text": pandas.array(["u", "v"] * (n // 2), dtype="string"),
            "mixed": [1, "2", 3.5] * (n // 3),
            "code": [1.0, 2.0, np.nan] * (n // 3),
            "huge": [1e300, -1e300, 0.5] * (n // 3),
            "y": pandas.Categorical(["lo", "hi"] * (n // 2)),
        }
    )
    data = CSVDataLoaderFactory(table, "y", {"code": "category", "huge": "category"})
    names = data.feature_names
    assert {"whole", "whole is missing", "flag", "mixed", "text = u", "kind = x"} <= set(names)
    assert {"code = 1", "code = 2", "code = (missing)", "huge = 0.5"} <= set(names)
    assert data.class_names == ("hi", "lo")
    row = data.prepare(pandas.DataFrame({name: table[name].astype(str) for name in table})[5:6])
    np.testing.assert_array_equal(row[:, :3], data.prepare(table[5:6])[:, :3])
    with pytest.raises(DataError, match="several columns 'whole'"):
        data.prepare(pandas.concat([table, table], axis=1))


# ---- the state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["sold", "price"])
def test_it_comes_back_from_json(path, target):
    data = CSVDataLoaderFactory(path, target, {"built": "date"}, max_categories=7)
    state = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in data.preprocessing.state().items()
    }
    again = Preprocessing.from_state(json.loads(json.dumps(state)))
    assert isinstance(again, TableEncoding)
    new = again.read(path)
    np.testing.assert_array_equal(again.transform(new), data.prepare(homes()))
    np.testing.assert_array_equal(again.targets(new), data.preprocessing.targets(homes()))
    assert (again.feature_names, again.class_names) == (data.feature_names, data.class_names)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [{"name": "size", "kind": "number", "parts": [{"name": "size"}]}]},
        {"columns": [{"name": "x", "kind": "category", "parts": [], "categories": [1]}]},
        {"columns": 3},
        {"format": {"decimal": "::"}},
        {"class_names": [1]},
        {"dtype": "O"},
    ],
)
def test_a_damaged_state_is_refused(path, change):
    state = CSVDataLoaderFactory(path, "sold", USED).preprocessing.state()
    with pytest.raises(DataError, match="kind 'table' is damaged"):
        Preprocessing.from_state(state | change)


def test_a_table_may_have_more_columns_but_not_fewer(path):
    encoding = CSVDataLoaderFactory(path, "sold", USED).preprocessing
    new = homes(5)
    rows = encoding.transform(new[["price", "kind", "age", "size"]])
    np.testing.assert_array_equal(rows, encoding.transform(new[USED].to_numpy(object)))
    np.testing.assert_array_equal(rows, encoding.transform(new[USED].to_dict("records")))
    with pytest.raises(DataError, match=r"no column 'size'; did you mean 'sizes'"):
        encoding.transform(new.rename(columns={"size": "sizes"}))
    with pytest.raises(DataError, match="3 columns 'size', 'age', 'kind'"):
        encoding.transform([[1, 2]])
    with pytest.raises(DataError, match="no row"):
        encoding.transform(new[:0])
    with pytest.raises(DataError, match=r"takes a table.*read\(path\)"):
        encoding.transform("new.csv")
    with pytest.raises(DataError, match=r"class 'maybe', which the training rows do not have"):
        encoding.targets(new.assign(sold="maybe"))


# ---- the splits ----------------------------------------------------------------------------------


def test_groups_stay_together():
    table = homes().assign(number=np.arange(N) % 20)
    data = CSVDataLoaderFactory(table, "price", ["number"], groups="number", scale=False)
    groups = [
        set(loader.X.ravel().tolist())
        for loader in (data.train_loader, data.validation_loader, data.test_loader)
    ]
    assert [len(part) for part in groups] == [12, 4, 4]
    assert set.union(*groups) == set(range(20))


def test_an_order_puts_the_last_rows_into_the_test(path):
    data = CSVDataLoaderFactory(path, "price", {"built": "date"}, order="built", scale=False)
    days = [
        loader.X[:, data.feature_names.index("built, days")]
        for loader in (data.train_loader, data.validation_loader, data.test_loader)
    ]
    assert [len(part) for part in days] == [120, 40, 40]
    assert days[0].max() < days[1].min() < days[1].max() < days[2].min()


def test_classes_have_their_shares(path):
    data = CSVDataLoaderFactory(path, "sold", USED)
    share = (homes()["sold"] == "yes").mean()
    for loader in (data.train_loader, data.validation_loader, data.test_loader):
        assert abs(loader.y.mean() - share) < 0.02


# ---- a stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"groups": "town"}, {"order": "price"}])
def test_a_stream_holds_every_row_once(tmp_path, options):
    table = homes().sort_values("price") if "order" in options else homes()
    table.to_csv(tmp_path / "homes.csv", index=False)
    arguments = tmp_path / "homes.csv", "sold", ["size", "town"]
    data = CSVDataLoaderFactory(*arguments, stream=True, chunk_rows=70, scale=False, **options)
    parts = [
        rows_of(loader) for loader in (data.train_loader, data.validation_loader, data.test_loader)
    ]
    sizes = np.concatenate([X[:, 0] for X, _ in parts])
    np.testing.assert_array_equal(np.sort(sizes), np.sort(table["size"].to_numpy(np.float32)))
    assert [len(X) for X, _ in parts] == [
        loader.n_samples for loader in (data.train_loader, data.validation_loader, data.test_loader)
    ]
    assert 80 < len(parts[0][0]) < 160
    again, _ = rows_of(data.test_loader)  # the same rows in each pass
    np.testing.assert_array_equal(again, parts[2][0])
    if "order" in options:
        assert (table["size"].to_numpy(np.float32)[-40:] == parts[2][0][:, 0]).all()
    if "groups" in options:  # towns of other splits are unknown, and zero everywhere
        assert 3 < data.feature_shape[0] < 20
        assert not any(X[:, 1:].any() for X, _ in parts[1:])


def test_a_stream_learns_from_the_training_rows_alone(path):
    data = CSVDataLoaderFactory(path, "price", ["size"], stream=True, chunk_rows=33)
    X, y = rows_of(data.train_loader)
    np.testing.assert_allclose([X.mean(), y.mean()], 0, atol=1e-6)
    np.testing.assert_allclose([X.std(), y.std()], 1, rtol=1e-6)
    prices = data.preprocessing.in_raw_units(y)
    distances = np.abs(prices - homes()["price"].to_numpy()).min(axis=1)
    assert distances.max() < 1e-3


def test_a_large_file_becomes_a_stream_by_itself(path, monkeypatch):
    monkeypatch.setattr(CSVDataLoaderFactory, "stream_above", 1000)
    data = CSVDataLoaderFactory(path, "sold", USED, chunk_rows=64)
    assert type(data.train_loader).__name__ == "StreamDataLoader"
    assert re.fullmatch(
        r"<CSVDataLoaderFactory: \d+ training, \d+ validation and \d+ test rows of shape \(7,\), "
        "2 classes>",
        repr(data),
    )
    assert "gaps as" in data.summary()


def test_a_stream_cannot_sort(path):
    with pytest.raises(DataError, match="a stream cannot sort"):
        CSVDataLoaderFactory(path, "sold", USED, order="built", stream=True, chunk_rows=50)


def test_a_stream_names_what_the_first_chunk_did_not_have(tmp_path):
    lines = [f"{i / 7:.3f},{i % 2}" for i in range(60)]
    lines[50] = "oops,1"
    path = write(tmp_path, "size,sold\n" + "\n".join(lines))
    with pytest.raises(DataError, match="row 51 below the header has 'oops'"):
        CSVDataLoaderFactory(path, "sold", stream=True, chunk_rows=20)


# ---- bad input -----------------------------------------------------------------------------------

GOOD = "size,sold\n" + "".join(f"{i / 7:.3f},{'yes' if i % 2 else 'no'}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "options", "match"),
    [
        ("", {}, "is empty, 0 bytes"),
        ("size,sold\n", {}, "no row below them"),
        ("\n\n", {}, "does not begin as a table"),
        ("1,2\n3,4\n", {}, "first line.*holds numbers"),
        ("sold,sold\n1,2\n", {}, "two columns of the name 'sold'"),
        (GOOD, {"target": "slod"}, "no column 'slod' to be the target; did you mean 'sold'"),
        (GOOD.replace("no", "yes"), {}, "all rows of the target 'sold' are 'yes'"),
        ("size,sold\n1.5,yes\n2.5,no\n", {}, "each of the 3 splits needs a row of class 0"),
        (
            "size,sold\n" + ",yes\n,no\n" * 9,
            {},
            r"no column is left to learn from \(size: left out: no row has a value\)",
        ),
        (
            GOOD,
            {"task": "regression"},
            "column 'sold' holds numbers, but row 1 below the header has 'no'",
        ),
        (
            "size,age,sold\n" + ",1,yes\n,2,no\n" * 9,
            {"columns": ["size"]},
            "column 'size' cannot be learned from: no row has a value",
        ),
        ("size,sold\n" + "1,\n2,\n" * 9, {}, "target 'sold' has no value in any row"),
        (bytes(range(256)) * 9, {}, "not a text file, but binary"),
        (b"PK\x03\x04" + GOOD.encode(), {}, "an Excel workbook"),
        (GOOD + "1,2,3,4\n", {}, "is not a table: .*; fix: correct that line"),
        (GOOD.encode() + b"1,\xe9\n", {}, "not in the encoding utf-8.*0xe9"),
        (GOOD, {"columns": ["sizes"]}, "no column 'sizes'; did you mean 'size'"),
        (GOOD, {"groups": "town"}, "no column 'town' to be the groups; there are size, sold"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_files_are_one_clear_sentence(tmp_path, content, options, match, stream):
    path = write(tmp_path, content)
    if stream and "each of the 3" in match:
        match = "too few for 3 splits|no training row"
    with pytest.raises(DataError, match=match) as caught:
        CSVDataLoaderFactory(path, **{"target": "sold", "stream": stream, **options})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_other_encodings_and_delimiters_are_found(tmp_path):
    for encoding in ("utf-8-sig", "utf-16", "utf-8"):
        path = write(tmp_path, GOOD.replace(",", ";").replace("yes", "schön"), encoding=encoding)
        assert CSVDataLoaderFactory(path, "sold").class_names == ("no", "schön")
    for delimiter in "\t|":
        path = write(tmp_path, GOOD.replace(",", delimiter))
        assert CSVDataLoaderFactory(path, "sold").feature_names == ("size",)
    packed = tmp_path / "table.csv.gz"
    homes().to_csv(packed, index=False)
    assert CSVDataLoaderFactory(packed, "sold", USED).feature_shape == (7,)
    headless = write(tmp_path, GOOD.split("\n", 1)[1])
    assert CSVDataLoaderFactory(headless, "b", names=["a", "b"]).feature_names == ("a",)


def test_a_file_that_is_not_there(tmp_path):
    write(tmp_path, GOOD, "homes.csv")
    with pytest.raises(DataError, match=r"no file .*home\.csv; did you mean 'homes\.csv'"):
        CSVDataLoaderFactory(tmp_path / "home.csv", "sold")
    with pytest.raises(DataError, match="there is no folder"):
        CSVDataLoaderFactory(tmp_path / "data" / "homes.csv", "sold")
    with pytest.raises(DataError, match="is a folder"):
        CSVDataLoaderFactory(tmp_path, "sold")


@pytest.mark.parametrize(
    "options",
    [
        {"path": np.ones((3, 2))},
        {"columns": "size"},
        {"columns": {"size": "text"}},
        {"columns": ["size", "sold"]},
        {"columns": []},
        {"task": "clustering"},
        {"groups": "town", "order": "built"},
        {"decimal": ",,"},
        {"decimal": ",", "thousands": ","},
        {"date_format": 3},
        {"delimiter": ";;"},
        {"encoding": "klingon"},
        {"missing_values": "?"},
        {"names": ["a", "b"]},
        {"max_categories": 0},
        {"stream": "yes"},
        {"chunk_rows": 0},
        {"flatten": True},
        {"batch_size": 0},
        {"validation_fraction": 0.5, "test_fraction": 0.5},
        {"validation_fraction": 0.5, "test_fraction": 0.5, "stream": True},
    ],
)
def test_invalid_options(path, options):
    with pytest.raises(OptionError):
        CSVDataLoaderFactory(**{"path": path, "target": "sold", **options})
