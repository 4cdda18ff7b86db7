import type { window as english } from '../en/window';
import type { InWords } from '../en';

/** Words of the frame around the picture: top line, settings, notices, dialogs, and how a new person is welcomed. */
export const window: InWords<typeof english> = {
  'app.name': 'Millpond',
  'app.loading': '正在查看资源池…',
  'app.lost': '窗口与后台失去联系，正在重试…',

  'side.region': '详情',
  'top.cpu': 'CPU',
  'top.memory': '内存',
  'top.disk': '磁盘',
  'top.gauges': '资源池的使用情况',
  'top.search': '搜索或执行操作',
  'top.theme': '外观',
  'top.theme.system': '跟随系统',
  'top.theme.light': '浅色',
  'top.theme.dark': '深色',
  'top.language': '语言',
  'top.language.system': '跟随系统',
  'top.settings': '设置',
  'top.placement': '新实例',
  'top.placement.spread': '分散',
  'top.placement.spread.line': '每台机器都保持轻松',
  'top.placement.pack': '集中',
  'top.placement.pack.line': '大实例仍有空间',
  'top.placement.save_power': '省电',
  'top.placement.save_power.line': '尽量少的机器保持开机',
  'top.promised': '{{label}}：已承诺 {{part}}，共 {{whole}}',

  'welcome.region': '关于本资源池',
  'welcome.title': '启动一台服务器',
  'welcome.line': '三步，大约十秒。',
  'welcome.1': '从左侧拖一张卡片到机器上。',
  'welcome.2': '看它启动：方块会逐渐充满。',
  'welcome.3': '打开控制台，开始输入。',
  'welcome.keyboard': '不用鼠标：聚焦卡片后按回车，或按 Ctrl K。',
  'legend.title': '如何看这幅图',
  'legend.vessel': '一个容器是一台机器，高度是内存；内存四倍，高度两倍。',
  'legend.water': '水是承诺给运行中实例的内存。',
  'legend.block': '一个方块是一个实例，大小随内存，但不会小到看不见。',
  'legend.load': '刻度表示负载：空闲、繁忙、过热。',
  'legend.hollow': '空心表示已停止，不占内存。',
  'legend.failed': '带标记表示失败：打开查看原因。',

  'toast.dismiss': '关闭提示',
  'toast.region': '通知',
  'toast.failed': '没有成功',
  'toast.request': '请求 {{id}}',

  'dialog.close': '关闭',
  'dialog.cancel': '取消',
};
