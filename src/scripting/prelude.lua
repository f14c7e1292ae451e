-- The sandbox: what is put around the libraries of Lua before the first script runs. Lua 5.1 has no tables that can
-- only be read, so a script never sees the real ones: it sees an empty table (a view) whose metatable reads through to
-- the real one and refuses to write. Whatever could reach past a metatable (rawset, rawget, next, pairs, getmetatable,
-- setmetatable, table.insert) is replaced by a function that knows the views. What is kept is listed by name.

local host = ...

local type, error, next, pairs, rawget, rawset, setmetatable, getmetatable =
    type, error, next, pairs, rawget, rawset, setmetatable, getmetatable
local pcall, xpcall, tostring, tonumber, loadstring, select = pcall, xpcall, tostring, tonumber, loadstring, select
local resume, create = coroutine.resume, coroutine.create
local insert, concat = table.insert, table.concat
local caught, handler, limit = host.caught, host.handler, host.limit
local collect, _G, string, table, math, coroutine = collectgarbage, _G, string, table, math, coroutine
local getfenv, setfenv, newproxy, unpack = getfenv, setfenv, newproxy, host.unpack
-- Patterns are matched by recursion of the C stack, a level for each item.
local LONGEST_PATTERN = 8192
local LOWEST_POSITION = -1e6

-- The metatables of proxies.
local of_proxies = setmetatable({}, { __mode = 'k' })

local READONLY = 'Attempt to modify a readonly table'
local shown = {}  -- view -> the table that it shows
local meta = {}   -- view -> what getmetatable says of it

local function readonly() error(READONLY, 2) end

local function view(t)
  local v = {}
  shown[v] = t
  setmetatable(v, { __index = t, __newindex = readonly, __metatable = false })
  return v
end

local function bad(position, name, wanted, got)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. wanted .. " expected, got " ..
    (got == nil and 'no value' or type(got)) .. ')', 3)
end

-- No function from here on has the real globals as its environment, in case that a script can ask for that.
setfenv(1, view({}))

-- Names of what a script may use; all else is gone.
local real = {}
for _, name in pairs({ 'tostring', 'assert', 'tonumber', 'rawequal', 'type', 'select', 'gcinfo', 'ipairs',
  '_VERSION', 'error' }) do
  real[name] = _G[name]
end

-- A function of C has 8000 places for values; one of the host holds its arguments, but numbers, in as many, a few of
-- which are taken.
local MOST_VALUES, MOST_ARGUMENTS = 8000, 7000
function real.unpack(t, first, last)
  if type(t) ~= 'table' then bad(1, 'unpack', 'table', t) end
  if first == nil and last == nil and #t < MOST_ARGUMENTS then return unpack(t) end
  local from, to = tonumber(first == nil and 1 or first), tonumber(last == nil and #t or last)
  if not from then bad(2, 'unpack', 'number', first) end
  if not to then bad(3, 'unpack', 'number', last) end
  local count = to - from + 1
  if not (count < MOST_VALUES) then error('too many results to unpack', 2) end
  if count > MOST_ARGUMENTS then
    local held = 0
    for i = from, to do
      local kind = type(rawget(t, i))
      if kind ~= 'number' and kind ~= 'nil' then held = held + 1 end
    end
    if held > MOST_ARGUMENTS then error('too many results to unpack', 2) end
  end
  if count < 1 then return end
  if from == 1 and to == #t then return unpack(t) end
  return unpack(t, from, to)
end

function real.next(t, k)
  if type(t) ~= 'table' then bad(1, 'next', 'table', t) end
  return next(shown[t] or t, k)
end

function real.pairs(t)
  if type(t) ~= 'table' then bad(1, 'pairs', 'table', t) end
  local hidden = shown[t]
  if not hidden then return next, t, nil end
  return function(_, k) return next(hidden, k) end, t, nil
end

function real.rawget(t, k)
  if type(t) ~= 'table' then bad(1, 'rawget', 'table', t) end
  return rawget(shown[t] or t, k)
end

function real.rawset(t, k, v)
  if type(t) ~= 'table' then bad(1, 'rawset', 'table', t) end
  if shown[t] then error(READONLY, 0) end
  if k == '__gc' and of_proxies[t] then return t end
  return rawset(t, k, v)
end

function real.getmetatable(t)
  if type(t) == 'string' then return meta[''] end
  if t ~= nil and shown[t] then return meta[t] end
  return getmetatable(t)
end

function real.setmetatable(t, m)
  if type(t) ~= 'table' then bad(1, 'setmetatable', 'table', t) end
  if m ~= nil and type(m) ~= 'table' then error("bad argument #2 to 'setmetatable' (nil or table expected)", 2) end
  if shown[t] then error(READONLY, 0) end
  return setmetatable(t, m)
end

-- Errors of functions of the host are values of their own (userdata), which no script ever holds: they become what
-- Redis makes of them, or, of a script that was killed, are raised again. That is asked whatever the error is: a kill
-- that met a handler of errors comes out of it as a string, `error in error handling`.

local function settled(ok, ...)
  if ok then return true, ... end
  local e = caught((...))
  if type(e) == 'table' then
    local text = rawget(shown[e] or e, 'err')
    if type(text) == 'string' then e = text end
  end
  return false, e
end

function real.pcall(...)
  return settled(pcall(...))
end

local function settled_as_is(ok, ...)
  if ok then return true, ... end
  return false, caught((...))
end

function real.xpcall(f, handle)
  return settled_as_is(xpcall(f, function(e)
    -- Once killed no handler is run: nothing can interrupt it, for it is run inside the hook that kills.
    return handle(caught(e))
  end))
end

local coroutines = {}
for name, f in pairs(coroutine) do coroutines[name] = f end

function coroutines.resume(co, ...)
  if type(co) ~= 'thread' then bad(1, 'resume', 'coroutine', co) end
  return settled_as_is(resume(co, ...))
end

local function load_text(text, name)
  if text:byte(1) == 27 then return nil, 'attempt to load a binary chunk' end
  return loadstring(text, name)
end

function real.loadstring(text, name)
  if type(text) == 'number' then text = tostring(text) end
  if type(text) ~= 'string' then bad(1, 'loadstring', 'string', text) end
  return load_text(text, name)
end

function real.load(f, name)
  if type(f) ~= 'function' then bad(1, 'load', 'function', f) end
  local parts = {}
  while true do
    local ok, part = settled(pcall(f))
    if not ok then return nil, part end
    if part == nil or part == '' then break end
    if type(part) ~= 'string' then return nil, 'reader function must return a string' end
    parts[#parts + 1] = part
  end
  return load_text(concat(parts), name or '=(load)')
end

function real.collectgarbage(what, ...)
  if what == nil or what == 'collect' then return collect('collect') end
  if what == 'count' then return collect('count') end
  if what == 'step' then return collect('step', ...) end
  -- The collector's pace is not a script's business.
  return 0
end

if host.deprecated then
  real.getfenv = getfenv
  -- A finalizer would run in the middle of whatever allocates, and with the hook off that ends a program. So none is ever
  -- set: what is assigned to `__gc` of a proxy's metatable is dropped.
  local barred = {
    __newindex = function(t, k, v) if k ~= '__gc' then rawset(t, k, v) end end,
    __metatable = false,
  }
  function real.newproxy(like)
    local proxy = newproxy(like)
    -- Only this makes a metatable; what getmetatable says of another proxy may be a script's own `__metatable`.
    if like == true then
      local m = getmetatable(proxy)
      of_proxies[m] = true
      setmetatable(m, barred)
    end
    return proxy
  end
  function real.setfenv(f, env)
    if tonumber(f) == 0 then error("'setfenv' cannot change environment of given object", 2) end
    return setfenv(f, env)
  end
end

local strings = {}
for name, f in pairs(string) do strings[name] = f end

for _, name in pairs({ 'find', 'match', 'gmatch', 'gsub', 'gfind' }) do
  local f = string[name]
  if f then
    strings[name] = function(s, p, ...)
      if type(p) == 'string' and #p > LONGEST_PATTERN and not (name == 'find' and select(2, ...)) then
        error('pattern too complex', 2)
      end
      return f(s, p, ...)
    end
  end
end

local rep = string.rep
function strings.rep(s, n)
  if type(s) == 'number' then s = tostring(s) end
  if type(s) ~= 'string' then bad(1, 'rep', 'string', s) end
  local times = tonumber(n)
  if not times then bad(2, 'rep', 'number', n) end
  if #s == 0 or times < 1 then return '' end
  if #s * times > limit then error('not enough memory', 0) end
  return rep(s, times)
end

local tables = {}
for name, f in pairs(table) do tables[name] = f end

function tables.insert(t, ...)
  if type(t) ~= 'table' then bad(1, 'insert', 'table', t) end
  if shown[t] then error(READONLY, 0) end
  local count = select('#', ...)
  if count ~= 1 and count ~= 2 then error("wrong number of arguments to 'insert'", 2) end
  -- C moves what is between the end and the position, one by one, and nothing interrupts it.
  local position = count > 1 and tonumber((...))
  if position == nil then bad(2, 'insert', 'number', (...)) end
  if position and not (position > LOWEST_POSITION and position < 2 ^ 31) then
    error("bad argument #2 to 'insert' (position out of bounds)", 2)
  end
  return insert(t, ...)
end

local numbers = {}
for name, f in pairs(math) do numbers[name] = f end
numbers.random, numbers.randomseed = host.random, host.randomseed

real.string, real.table, real.math, real.coroutine = view(strings), view(tables), view(numbers), view(coroutines)
real.os = view({ clock = host.clock })
for _, name in pairs({ 'cjson', 'cmsgpack', 'struct', 'bit' }) do
  local library = rawget(_G, name)
  if type(library) == 'table' then real[name] = view(library) end
end

-- Methods of strings.
local of_strings = getmetatable('')
of_strings.__index = strings
meta[''] = view({ __index = real.string })

local function absent(_, name)
  if type(name) ~= 'string' and type(name) ~= 'number' then
    error('Second argument to luaProtectedTableError must be a string or number', 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

-- A set of globals: `api` is what `redis` names in it. Two tables are given: the one that programs see, and the real one.
local function globals(api)
  local own = setmetatable({}, { __index = absent })
  for name, value in next, real do own[name] = value end
  own.redis = view(api)
  local seen = view(own)
  own._G = seen
  meta[seen] = view({ __index = absent })
  return seen, own
end

local seen, own = globals(host.redis)
-- Whatever is compiled from here on sees nothing else.
host.set_globals(seen)

local arguments = host.arguments

local api, program = own.redis, nil

-- xpcall of Lua 5.1 passes nothing on.
local function body()
  return program(api, own.KEYS, own.ARGV)
end

local function run(f)
  own.KEYS, own.ARGV = arguments()
  program = f
  return xpcall(body, handler)
end

local function body_with_arguments()
  return program(arguments())
end

-- The program of a library is run without arguments, one of its functions with them.
local function run_function(f, has_arguments)
  if not has_arguments then return xpcall(f, handler) end
  program = f
  return xpcall(body_with_arguments, handler)
end

return run, run_function, globals
